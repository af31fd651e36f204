"""Every method of a benchmark gets its own budget and shares everything else."""

from pathlib import Path

import pytest

from healthygan.benchmark.budgets import Budget, budget_names, load_budget, plan
from healthygan.common.errors import InputError
from healthygan.detectors.registry import DETECTORS

TWO = Budget.model_validate(
    {
        "base": "small",
        "set": ["selection.rule=last", "training.batch_size=2", "preprocessing.size=64"],
        "methods": {
            "healthygan": {"preset": "covidx"},
            "wide": {"preset": "small", "set": ["detector.width=32", "training.batch_size=5"]},
        },
    }
)


def test_methods_have_own_budgets_and_one_preprocessing_and_selection() -> None:
    first, second = plan(TWO, "healthygan,wide")
    assert (first.name, second.name) == ("healthygan", "wide")
    assert first.config.training.iterations == 400_000 and second.config.training.iterations == 700
    assert second.config.detector.model_dump()["width"] == 32
    assert first.config.preprocessing == second.config.preprocessing and first.config.preprocessing.size == 64
    assert first.config.selection == second.config.selection and first.config.selection.rule == "last"


def test_overrides_go_from_the_budget_to_the_method_to_the_command_line() -> None:
    batches = [method.config.training.batch_size for method in plan(TWO, "healthygan,wide")]
    assert batches == [2, 5]
    settings = ["training.batch_size=7", "wide:training.batch_size=9", "preprocessing.size=16"]
    methods = plan(
        TWO,
        "healthygan,wide",
        [
            "wide:detector.evidence=0",
            "wide:detector.critic_blocks=4",
            "healthygan:detector.discriminator_blocks=4",
            *settings,
        ],
    )
    assert [method.config.training.batch_size for method in methods] == [7, 9]
    assert {method.config.preprocessing.size for method in methods} == {16}


def test_all_are_the_detectors_there_are_and_those_the_budget_adds() -> None:
    budget = TWO.model_copy(update={"methods": {name: TWO.methods["wide"] for name in [*DETECTORS, "extra+"]}})
    assert [method.name for method in plan(budget, "all")] == [*DETECTORS, "extra+"]


def test_seeds_change_the_seed_alone() -> None:
    method = plan(TWO, "wide")[0]
    seeded = method.seeded(7)
    assert seeded.training.seed == 7
    assert seeded.model_copy(update={"training": method.config.training}) == method.config


@pytest.mark.parametrize("name", budget_names())
def test_every_shipped_budget_can_be_planned(name: str) -> None:
    methods = plan(load_budget(name), "all")
    assert [method.name for method in methods][: len(DETECTORS)] == [*DETECTORS]
    assert all(method.config.selection == methods[0].config.selection for method in methods)


@pytest.mark.parametrize(
    ("detectors", "settings", "said"),
    [
        ("healthygam", [], "healthygam not among healthygan"),
        (" , ", [], "none not among"),
        ("wide", ["healthygan:training.iterations=3"], "no method 'healthygan' in this benchmark"),
        ("wide", ["wide:preprocessing.size=32"], "must be the same for all methods"),
        ("wide", ["wide:selection.rule=last"], "must be the same for all methods"),
        ("wide", ["training.seed=3"], "say how many with seeds"),
        ("wide", ["wide:training.seed=3"], "say how many with seeds"),
        ("wide", ["training.devices=2"], "use workers for several"),
        ("wide", ["wide:training.iteration=3"], r"method wide: .*did you mean"),
        ("wide", ["preprocessing.size=8"], r"method wide: .*take fewer blocks"),
    ],
)
def test_what_cannot_be_is_refused_before_any_work(detectors: str, settings: list[str], said: str) -> None:
    with pytest.raises(InputError, match=said):
        plan(TWO, detectors, settings)


def test_a_detector_without_preset_asks_for_one() -> None:
    budget = Budget.model_validate({"base": "small", "methods": {"mine": {}}})
    with pytest.raises(InputError, match=r"add methods\.mine\.preset"):
        plan(budget, "mine")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("base: small\nmethods: {../up: {preset: small}}\n", "letters, digits"),
        ("base: small\nmethods: {all: {preset: small}}\n", "letters, digits"),
        ("base: small\nmethods: {a: {set: [preprocessing.size=32]}}\n", "'set' at the top"),
        ("base: small\nmethod: {}\n", "method"),
        ("set: []\n", "base"),
        ("base: [\n", "not YAML"),
    ],
)
def test_a_faulty_file_is_named_with_its_fault(text: str, said: str, tmp_path: Path) -> None:
    path = tmp_path / "mine.yaml"
    path.write_text(text)
    with pytest.raises(InputError, match=said) as raised:
        load_budget(str(path))
    assert "mine.yaml" in str(raised.value) and "\n" not in str(raised.value)


def test_an_unknown_budget_and_a_missing_file_are_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"none of .*small"):
        load_budget("tiny")
    with pytest.raises(InputError, match="cannot be read"):
        load_budget(str(tmp_path / "none.yaml"))
