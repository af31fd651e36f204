"""Settings of training: the paper's by default, refused where they make no sense."""

import pytest
from pydantic import ValidationError

from healthygan.training.config import TrainingConfig


def test_the_defaults_are_the_paper_s() -> None:
    settings = TrainingConfig()
    assert (settings.iterations, settings.decay_iterations, settings.batch_size) == (400_000, 100_000, 16)
    assert settings.flip and settings.precision == "32"


def test_a_precision_may_be_a_number() -> None:
    assert TrainingConfig.model_validate({"precision": 32}).precision == "32"


@pytest.mark.parametrize(
    "wrong",
    [
        {"iterations": 0},
        {"decay_iterations": -1},
        {"batch_size": 0},
        {"seed": -1},
        {"precision": "16"},
        {"device": "tpu"},
        {"members": 101},
        {"devices": 0},
        {"log_every": 0},
        {"epochs": 3},
    ],
)
def test_senseless_settings_are_refused(wrong: dict[str, object]) -> None:
    with pytest.raises(ValidationError):
        TrainingConfig.model_validate(wrong)
