"""Presets, overrides and what is refused."""

import os

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


EXPLODING = "a0: &a0 [x, x]\n" + "".join(f"a{n}: &a{n} [*a{n - 1}, *a{n - 1}]\n" for n in range(1, 40))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (EXPLODING, "more than 10,000 values with its aliases"),
        (EXPLODING.replace("[*", "[{<<: *").replace(", *", "}, {<<: *").replace("]", "}]"), "not YAML"),
        ("a: &a [*a]\n", "more than 10,000 values"),
        ("training: " + "[" * 5000 + "]" * 5000, "nest too deeply"),
        ("training: " + "{a: " * 5000 + "}" * 5000, "nest too deeply"),
        ("training:\n  seed: 2024-99-99\n", "not YAML .*month must be in 1..12"),
        ("training:\n  seed: 0001-01-01T00:00:00+99:59\n", "not YAML"),
        ("training:\n  seed: !!timestamp never\n", "not YAML"),
        ("training:\n  seed: !!bool never\n", "not YAML"),
        ("training:\n  seed: 2024-05-05\n", r"training.seed=datetime.date\(2024, 5, 5\)"),
        (f"training:\n  seed: {'9' * 5000}\n", "not YAML|training.seed="),
        (f"training:\n  precision: {'x' * 500}\n", r"training.precision='x{99}\.\.\.: "),
        ("\x07: 1\n", "not YAML"),
        ("1: 2\n", "1"),
        ("[" + "1," * 600_000 + "]", "larger than 1,000,000 bytes"),
        ("[" + "1," * 20_000 + "]", "more than 10,000 values"),
    ],
    ids=range(16),
)
def test_yaml_that_explodes_or_cannot_be_read_is_one_line(tmp_path, text, message):
    (tmp_path / "mine.yaml").write_text(text)
    with pytest.raises(InputError, match=message) as caught:
        load_config(tmp_path / "mine.yaml")
    assert str(caught.value).startswith(f"{tmp_path / 'mine.yaml'}: ")
    assert "\n" not in str(caught.value) and len(str(caught.value)) < 500 + len(str(tmp_path))


def test_aliases_are_fine_where_they_are_few(tmp_path):
    (tmp_path / "mine.yaml").write_text("training: &t {seed: 3}\nselection: {<<: *t}\n")
    assert load_config(tmp_path / "mine.yaml").selection.seed == 3


@pytest.mark.parametrize("value", ["2024-99-99", "[" * 5000, "!!timestamp x"])
def test_a_single_setting_that_is_no_yaml_is_one_line(value):
    with pytest.raises(InputError, match="is not a YAML value; quote it"):
        load_config("small", [f"training.seed={value}"])


def test_a_pipe_in_place_of_settings_is_not_opened(tmp_path):
    os.mkfifo(tmp_path / "pipe.yaml")
    with pytest.raises(InputError, match=r"pipe\.yaml: is not a file"):
        load_config(tmp_path / "pipe.yaml")


def test_an_unknown_preset_names_the_nearest():
    with pytest.raises(InputError, match="did you mean 'small'"):
        load_config("smal")
