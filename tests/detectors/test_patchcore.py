"""PatchCore against brute force."""

import sys
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from healthygan import evaluate
from healthygan.data.cohort import Cohort
from healthygan.detectors import patchcore as module
from healthygan.detectors.patchcore import PatchCore, PatchCoreConfig, _projected, coreset, nearest
from healthygan.runs import train as workflow
from healthygan.runs.config import load_config
from healthygan.runs.partition import partition_cohort

SETTINGS = ("preprocessing.size=64", "training.device=cpu")


def random_of(seed=0):
    return torch.Generator().manual_seed(seed)


def exact_greedy(points, count, first):
    """Greedy k-centre in float64, with all distances computed ever anew."""
    chosen = [first]
    for _ in range(count - 1):
        away = np.linalg.norm(points[:, None] - points[chosen][None], axis=2).min(axis=1)
        chosen.append(int(away.argmax()))
    return chosen


@pytest.mark.parametrize("offset", [0, 100])
@pytest.mark.parametrize("clustered", [False, True])
def test_the_coreset_is_the_exact_greedy_one(offset, clustered):
    points = np.random.default_rng(1).standard_normal((300, 8)) + offset
    if clustered:
        points += 20 * (np.arange(300) % 7)[:, None]
    chosen, radii = coreset(torch.from_numpy(points).float(), 60, random_of())
    assert chosen.tolist() == exact_greedy(points, 60, int(chosen[0]))
    left = np.linalg.norm(points[:, None] - points[chosen[:-1]][None], axis=2).min(axis=1).max()
    assert float(radii[-1]) == pytest.approx(left, rel=1e-3)
    assert (radii.diff() <= 1e-4).all()


def test_a_coreset_of_all_points_holds_each_once():
    points = torch.randn(40, 3, generator=random_of())
    assert sorted(coreset(points, 40, random_of())[0].tolist()) == list(range(40))


def test_points_that_coincide_are_chosen_last():
    points = torch.tensor([[0.0], [0.0], [5.0], [9.0]])
    chosen, radii = coreset(points, 3, random_of())
    assert {float(points[place]) for place in chosen} == {0.0, 5.0, 9.0}
    assert radii[-1] > 0


def test_the_first_point_comes_from_the_seed():
    points = torch.randn(100, 3, generator=random_of())
    firsts = {int(coreset(points, 1, random_of(seed))[0][0]) for seed in range(5)}
    assert len(firsts) > 1


class IndexByHand:
    """What is asked of faiss's flat index."""

    def __init__(self, width):
        self.bank = np.empty((0, width), np.float32)

    def add(self, bank):
        self.bank = bank

    def search(self, queries, count):
        squares = ((queries[:, None].astype(np.float64) - self.bank[None]) ** 2).sum(axis=2)
        places = np.argsort(squares, axis=1)[:, :count]
        return np.take_along_axis(squares, places, axis=1), places


@pytest.fixture(params=["without faiss", "as faiss is called", "faiss itself"])
def library(request, monkeypatch):
    if request.param == "faiss itself":
        pytest.importorskip("faiss")
    else:
        stand_in = SimpleNamespace(IndexFlatL2=IndexByHand, omp_set_num_threads=lambda count: None)
        monkeypatch.setitem(sys.modules, "faiss", stand_in if request.param == "as faiss is called" else None)


@pytest.mark.parametrize("offset", [0, 1000])
def test_the_nearest_is_brute_force_s(library, offset):
    bank = np.random.default_rng(0).standard_normal((500, 16)) + offset
    queries = np.random.default_rng(1).standard_normal((3000, 16)) + offset
    distances, places = nearest(torch.from_numpy(queries).float(), torch.from_numpy(bank).float())
    exact = np.linalg.norm(queries[:, None] - bank[None], axis=2)
    np.testing.assert_allclose(distances, exact.min(axis=1), rtol=1e-3)
    assert (places.numpy() == exact.argmin(axis=1)).mean() > 0.99


def test_a_projection_nearly_keeps_distances():
    points = torch.randn(50, 2000, generator=random_of())
    ratio = torch.pdist(_projected(points, 512, random_of(1))) / torch.pdist(points)
    assert 0.8 < ratio.min() < ratio.max() < 1.2
    assert _projected(points[:, :100], 128, random_of()).shape == (50, 100)


def detector_with(bank, **settings):
    detector = PatchCore(PatchCoreConfig(**settings), 1, 64)
    detector.bank, detector.unusual = bank, torch.tensor(2.0)
    return detector


def patches_of(detector, x):
    return detector._rows(detector._maps(x))


@pytest.mark.parametrize("neighbours", [1, 4])
def test_scores_are_brute_force_s_with_and_without_the_weight(neighbours):
    random = random_of()
    x = torch.rand(3, 1, 64, 64, generator=random) * 2 - 1
    detector = detector_with(torch.zeros(1, 152), neighbours=neighbours)
    patches = patches_of(detector, x)
    bank = patches.flatten(0, 1)[::7] + 0.1 * torch.randn(28, 152, generator=random)
    detector.bank = bank
    found = detector.predict(x)
    members = bank.double().numpy()
    for image, rows in enumerate(patches.double().numpy()):
        exact = np.linalg.norm(rows[:, None] - members[None], axis=2)
        farthest = exact.min(axis=1).argmax()
        score = exact.min(axis=1).max()
        if neighbours > 1:
            support = members[exact[farthest].argmin()]
            around = np.linalg.norm(members - support, axis=1).argsort()[:neighbours]
            score *= 1 - np.exp(score) / np.exp(exact[farthest, around]).sum()  # equation 7
        assert float(found.score[image]) == pytest.approx(score, rel=1e-3)


def test_patches_are_means_of_3_by_3_surroundings_in_the_finest_layer_s_grid():
    detector = detector_with(torch.zeros(1, 152))
    x = torch.rand(2, 1, 64, 64, generator=random_of()) * 2 - 1
    patches = patches_of(detector, x)
    assert patches.shape == (2, 64, 40 + 112)
    fine, _ = detector.backbone.features(x, (2, 3))
    torch.testing.assert_close(patches[0, 9, :40], fine[0, :, :3, :3].mean(dim=(1, 2)))  # row 1, column 1


def test_pooled_to_dimensions_as_the_official_code():
    detector = detector_with(torch.zeros(1, 40), layers=(2,), dimensions=40)
    x = torch.rand(1, 1, 64, 64, generator=random_of()) * 2 - 1
    (fine,) = detector.backbone.features(x, (2,))
    # 40 channels times 9 places pooled to 40 numbers: the mean over the surroundings of each channel.
    torch.testing.assert_close(patches_of(detector, x)[0, 9], fine[0, :, :3, :3].mean(dim=(1, 2)))


@pytest.fixture(scope="module")
def trained(manifest, tmp_path_factory):
    folder = tmp_path_factory.mktemp("patchcore") / "run"
    return workflow.train(load_config("patchcore", SETTINGS), Cohort.from_manifest(manifest), folder)


def test_the_bank_is_a_tenth_of_the_healthy_patches(trained, manifest):
    detector, config, _ = workflow.load(trained, "cpu")
    healthy = partition_cohort(Cohort.from_manifest(manifest), config.selection, None).healthy
    assert len(detector.bank) == round(0.1 * len(healthy) * 64)


def test_train_and_evaluate(trained, tmp_path):
    found = evaluate(trained, None, tmp_path, device="cpu")
    assert found.performance is not None and found.performance.auc > 0.8
    assert found.pixel_auroc is not None and found.pixel_auroc > 0.6


def test_no_more_patches_than_allowed_are_held(manifest, tmp_path, monkeypatch):
    seen = []
    real = module.coreset
    monkeypatch.setattr(module, "coreset", lambda points, *rest: seen.append(len(points)) or real(points, *rest))
    settings = (*SETTINGS, "detector.patches=100")
    run = workflow.train(load_config("patchcore", settings), Cohort.from_manifest(manifest), tmp_path / "run")
    assert 90 <= seen[0] <= 100
    assert len(workflow.load(run, "cpu")[0].bank) == round(0.1 * seen[0])
