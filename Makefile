# `make demo`, `make benchmark` and `make test` install what they need into .venv first; a second call installs nothing.
PYTHON ?= python3
BIN := .venv/bin
INSTALLED := .venv/installed

.PHONY: demo benchmark test lint clean

demo: $(INSTALLED)
	$(BIN)/healthygan demo

benchmark: $(INSTALLED)
	$(BIN)/python benchmarks/phantoms.py runs/benchmark

test: $(INSTALLED)
	$(BIN)/python -m pytest --cov=healthygan --cov-report=term:skip-covered --cov-fail-under=90

lint: $(INSTALLED)
	$(BIN)/ruff check src tests benchmarks
	$(BIN)/ruff format --check src tests benchmarks
	$(BIN)/mypy
	$(BIN)/lint-imports

$(INSTALLED): pyproject.toml constraints.txt
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "healthygan needs Python 3.11 or later")'
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable '.[dev]'
	touch $(INSTALLED)

clean:
	rm -rf .venv demo runs
