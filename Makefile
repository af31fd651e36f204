# `make demo`, `make benchmark` and `make test` install what they need into .venv first; a second call installs nothing.
PYTHON ?= python3
BIN := .venv/bin
INSTALLED := .venv/installed

.PHONY: demo benchmark test lint audit clean

demo: $(INSTALLED)
	$(BIN)/healthygan demo

benchmark: $(INSTALLED)
	$(BIN)/python benchmarks/phantoms.py runs/benchmark

test: $(INSTALLED)
	$(BIN)/python -m pytest --cov=healthygan --cov-report=term:skip-covered --cov-fail-under=90

lint: $(INSTALLED)
	$(BIN)/ruff check src tests benchmarks tools
	$(BIN)/ruff format --check src tests benchmarks tools
	$(BIN)/mypy
	$(BIN)/lint-imports

# Whether a release that the lock names has a known vulnerability; asks a service on the network.
audit: $(INSTALLED)
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable '.[audit]'
	$(BIN)/python tools/audit.py constraints.txt

$(INSTALLED): pyproject.toml constraints.txt
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "healthygan needs Python 3.11 or later")'
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable '.[dev]'
	touch $(INSTALLED)

clean:
	rm -rf .venv demo runs
