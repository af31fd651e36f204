"""Presets, overrides and what is refused."""

import pytest
import yaml

from healthygan.common.errors import InputError
from healthygan.runs.config import Config, load_config, preset_names


@pytest.mark.parametrize("name", preset_names())
def test_every_preset_that_ships_is_valid(name):
    assert isinstance(load_config(name), Config)


def test_the_paper_s_presets_hold_the_paper_s_values():
    for name, size, batch in (("covidx", 256, 16), ("chestxray14", 128, 32), ("migraine", 256, 16)):
        config = load_config(name)
        detector, training = config.detector, config.training
        assert (config.preprocessing.size, training.batch_size) == (size, batch)
        assert (training.iterations, training.decay_iterations) == (400_000, 100_000)
        assert (detector.learning_rate, detector.betas, detector.ema_decay) == (1e-4, (0.5, 0.999), 0.0)
        assert config.selection.rule == "fid"
        assert (detector.gradient_penalty, detector.identity, detector.reconstruction) == (10, 1, 1)
        assert (detector.focus, detector.focus_zero_one, detector.focus_size) == (0.1, 1, 1)
        assert (detector.width, detector.generator_blocks, detector.discriminator_blocks) == (64, 6, 6)


@pytest.mark.parametrize(
    ("name", "iterations", "batch", "detector"),
    [
        (
            "alad",
            100 * (60_000 * 8 // 10 * 3 // 4 // 10 // 32),
            32,
            {"latent": 100, "learning_rate": 2e-4, "score": "fm"},
        ),
        ("alocc", 40 * (6_179 // 128), 128, {"reconstruction": 0.4, "learning_rate": 2e-3, "refiner_steps": 2}),
        ("fanogan", 7 * 1_000_000 // 64 + 50_000, 64, {"latent": 128, "kappa": 1, "gradient_penalty": 10, "width": 64}),
        ("ganomaly", 15 * (45_000 // 64), 64, {"latent": 100, "adversarial": 1, "contextual": 50, "encoder": 1}),
        ("brainomaly", 400_000, 16, {"gradient_penalty": 10, "identity": 1, "learning_rate": 1e-4, "output": "tanh"}),
        ("ddad", 250 * ((3_851 + 4_000) // 64), 64, {"members": 3, "latent": 16, "learning_rate": 5e-4}),
    ],
)
def test_the_rivals_presets_hold_their_authors_values(name, iterations, batch, detector):
    config = load_config(name)
    assert config.detector.name == name
    assert (config.preprocessing.size, config.preprocessing.channels) == (64, 1)
    assert (config.training.iterations, config.training.batch_size) == (iterations, batch)
    assert detector.items() <= config.detector.model_dump().items()


def test_any_field_can_be_set():
    config = load_config("small", ["training.seed=7", "preprocessing.reader.slice_axis=coronal"])
    assert config.training.seed == 7
    assert config.preprocessing.reader.slice_axis == "coronal"


def test_precision_may_be_given_as_a_number():
    assert load_config("small", ["training.precision=32"]).training.precision == "32"


def test_saved_settings_are_read_back_the_same(tmp_path):
    config = load_config("demo", ["training.seed=3"])
    config.save(tmp_path / "config.yaml")
    assert load_config(tmp_path / "config.yaml") == config
    assert yaml.safe_load((tmp_path / "config.yaml").read_text())["training"]["seed"] == 3


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("training.iteratoins=5", "did you mean 'iterations'"),
        ("trainig.iterations=5", "did you mean 'training'"),
        ("preprocessing.reader.max_pixel=5", "did you mean 'max_pixels'"),
        ("training.batch_size=0", "training.batch_size=0"),
        ("training.batch_size=many", "training.batch_size='many'"),
        ("preprocessing.size=30", "not a multiple of 4"),
        ("training.seed", "no name or no value"),
        ("training.seed.deep=1", "'seed'"),
        ("training=5", "training"),
        ("=1", "no name"),
        ("detector.critic_blocks=7", "take fewer blocks"),
        ("training.iterations=300", "take more"),
        ("detector.widht=4", "'detector.widht'.*did you mean 'width'"),
        ("detector.width=0", "detector.width=0"),
        ("detector.name=healthygun", "detector.name='healthygun': no such detector.*did you mean 'healthygan'"),
    ],
)
def test_wrong_settings_are_refused_by_name(override, message):
    overrides = ["training.seed=1", override] if "deep" in override else [override]
    with pytest.raises(InputError, match=message) as caught:
        load_config("small", overrides)
    assert "\n" not in str(caught.value)


def test_an_unknown_preset_names_the_nearest():
    with pytest.raises(InputError, match="did you mean 'small'"):
        load_config("smal")
