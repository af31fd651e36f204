"""What the detectors on frozen pretrained features promise, all alike."""

from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import torch
from scipy.ndimage import gaussian_filter

from healthygan.cli.main import main
from healthygan.common.errors import InputError
from healthygan.common.tensors import load_tensors, save_tensors
from healthygan.data.cohort import Cohort, Split
from healthygan.detectors import registry
from healthygan.detectors.pretrained import PretrainedDetector, finest_maps, smooth_map
from healthygan.runs import train as workflow
from healthygan.runs.config import load_config, parse_config

SIZE = 32
SETTINGS = {"contrast": (), "padim": ("detector.channels=20",), "patchcore": ()}
KINDS = pytest.mark.parametrize("kind", SETTINGS)
OF_HEALTHY_ALONE = pytest.mark.parametrize("kind", ["padim", "patchcore"])


def config_of(kind):
    return load_config(kind, (f"preprocessing.size={SIZE}", "training.device=cpu", *SETTINGS[kind]))


@pytest.fixture(scope="module")
def cohort(manifest):
    return Cohort.from_manifest(manifest)


@pytest.fixture(scope="module")
def run_of(cohort, tmp_path_factory):
    """Trains a kind once for all tests here."""
    runs = {}

    def train(kind):
        if kind not in runs:
            runs[kind] = workflow.train(config_of(kind), cohort, tmp_path_factory.mktemp(kind) / "run")
        return runs[kind]

    return train


def images(count=3):
    return torch.rand(count, 1, SIZE, SIZE, generator=torch.Generator().manual_seed(2)) * 2 - 1


def test_every_kind_on_pretrained_features_is_tried_here():
    assert set(SETTINGS) == {name for name, kind in registry.DETECTORS.items() if issubclass(kind, PretrainedDetector)}


@KINDS
def test_predictions_have_the_promised_shapes_and_ranges(kind, run_of):
    found = workflow.load(run_of(kind), "cpu")[0].predict(images())
    assert found.score.shape == (3,) and found.score.isfinite().all() and found.score.std() > 0
    assert found.difference.shape == (3, 1, SIZE, SIZE)
    assert found.difference.min() >= 0 and found.difference.max() <= 1
    assert found.translated is None and found.mask is None


@KINDS
def test_each_image_is_scored_on_its_own_whatever_the_batch(kind, run_of):
    detector, x = workflow.load(run_of(kind), "cpu")[0], images(5)
    together, alone = detector.predict(x), [detector.predict(image[None]) for image in x]
    torch.testing.assert_close(together.score, torch.cat([one.score for one in alone]), rtol=1e-3, atol=1e-5)
    maps = torch.cat([one.difference for one in alone])
    torch.testing.assert_close(together.difference, maps, rtol=1e-3, atol=1e-3)


@KINDS
def test_a_detector_survives_its_file(kind, run_of, tmp_path):
    trained, config, _ = workflow.load(run_of(kind), "cpu")
    save_tensors(tmp_path / "model.pt", trained.state_dict())
    other = workflow.build(config)
    other.load_state_dict(load_tensors(tmp_path / "model.pt"))
    assert torch.equal(other.predict(images()).score, trained.predict(images()).score)


@KINDS
def test_weights_that_are_not_all_there_are_refused(kind, run_of):
    weights = load_tensors(run_of(kind).model)
    detector = workflow.build(config_of(kind))
    del weights[detector.learned[0]]
    with pytest.raises(RuntimeError, match=rf'Missing key.*"{detector.learned[0]}"'):
        detector.load_state_dict(weights)


@KINDS
def test_learned_tensors_of_any_size_move_and_are_loaded_twice(kind, run_of):
    detector = workflow.build(config_of(kind))
    weights = load_tensors(run_of(kind).model)
    for _ in range(2):
        detector.load_state_dict(weights)
    assert {*detector.learned} <= {*dict(detector.named_buffers())}
    assert all(torch.equal(part, weights[name]) for name, part in detector.state_dict().items())
    assert detector.to(torch.float64).state_dict()[detector.learned[0]].dtype == torch.float64


@KINDS
def test_several_threads_get_what_one_gets(kind, run_of):
    detector = workflow.load(run_of(kind), "cpu")[0]
    batches = [images(count) for count in (1, 2, 3)] * 2
    expected = [detector.predict(x).score for x in batches]
    before = dict(vars(detector))
    with ThreadPoolExecutor(3) as pool:
        scores = [*pool.map(lambda x: detector.predict(x).score, batches)]
    for one, other in zip(scores, expected, strict=True):
        torch.testing.assert_close(one, other)
    assert vars(detector) == before


@KINDS
def test_labels_of_the_mixed_and_the_test_set_change_no_byte(kind, run_of, cohort, relabelled, tmp_path):
    run = workflow.train(config_of(kind), relabelled(cohort), tmp_path / "run")
    for name in ("model", "decision"):
        assert getattr(run, name).read_bytes() == getattr(run_of(kind), name).read_bytes()


@OF_HEALTHY_ALONE
def test_methods_of_healthy_images_alone_never_learn_from_the_mixed_set(kind, run_of, cohort, tmp_path):
    mixed = [image for image in cohort.images if image.split is Split.MIXED]
    fewer = Cohort(cohort.name, tuple(image for image in cohort.images if image not in mixed[2:]))
    run = workflow.train(config_of(kind), fewer, tmp_path / "run")
    assert run.model.read_bytes() == run_of(kind).model.read_bytes()


@KINDS
def test_a_finished_run_is_not_learned_again(kind, run_of, cohort, monkeypatch):
    before = run_of(kind).model.read_bytes()
    monkeypatch.setattr(registry.DETECTORS[kind], "_learn", lambda *_: pytest.fail("learned again"))
    workflow.train(config_of(kind), cohort, run_of(kind).path)
    assert run_of(kind).model.read_bytes() == before


@KINDS
@pytest.mark.parametrize("field", ["iterations", "batch_size", "devices"])
def test_a_training_field_without_use_is_refused_by_name(kind, field):
    with pytest.raises(InputError, match=rf"training.{field}=3: detector {kind} has no use for it"):
        parse_config({"detector": {"name": kind}, "training": {field: 3}}, "test")


@KINDS
def test_fid_needs_a_translation(kind, run_of, capsys):
    assert main(["select", str(run_of(kind).path), "--rule", "fid", "--device", "cpu"]) == 2
    assert f"detector {kind} translates no image" in capsys.readouterr().err


@KINDS
def test_the_only_candidate_is_the_model(kind, run_of):
    assert run_of(kind).load_decision().rule == "the only candidate"


@KINDS
def test_small_images_are_refused(kind):
    with pytest.raises(InputError, match="backbones need 32 pixels"):
        load_config(kind, ["preprocessing.size=16"])


def test_a_layer_that_is_not_there_is_refused():
    with pytest.raises(InputError, match="layer 9: tf_efficientnet_lite0 has the layers 0 to 5"):
        workflow.build(load_config("padim", ["detector.layers=[1, 9]", "preprocessing.size=32"]))


def test_maps_are_put_side_by_side_in_the_finest_resolution():
    fine, coarse = torch.arange(16.0).reshape(1, 1, 4, 4), torch.tensor([[[[1.0, 2.0], [3.0, 4.0]]]])
    found = finest_maps([coarse, fine], "nearest")
    assert torch.equal(found[:, 1:], fine)
    np.testing.assert_array_equal(found[0, 0], np.kron([[1, 2], [3, 4]], np.ones((2, 2))))


@pytest.mark.parametrize("sigma", [0.5, 1.5, 4.0])
def test_smoothing_is_scipy_s_gaussian_filter(sigma):
    maps = torch.rand(2, 1, 24, 20, generator=torch.Generator().manual_seed(0))
    expected = gaussian_filter(maps.double().numpy(), (0, 0, sigma, sigma), mode="mirror", truncate=4)
    np.testing.assert_allclose(smooth_map(maps, torch.Size((24, 20)), sigma), expected, atol=1e-6)
    assert torch.equal(smooth_map(maps, torch.Size((24, 20)), 0.0), maps)


def test_damage_to_the_features_kept_is_told_and_not_built_upon(cohort, tmp_path):
    run = workflow.train(config_of("contrast"), cohort, tmp_path / "run")
    for path in (run.decision, *run.candidates().values()):
        path.unlink()
    save_tensors(run.checkpoint, {"healthy": 3})
    with pytest.raises(InputError, match=r"checkpoint\.pt: damaged"):
        workflow.train(config_of("contrast"), cohort, run.path)
    assert not run.candidates()
