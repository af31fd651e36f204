"""PaDiM against scipy and NumPy."""

import numpy as np
import pytest
import torch
from scipy.spatial.distance import mahalanobis as scipy_mahalanobis

from healthygan import evaluate
from healthygan.common.errors import InputError
from healthygan.data.cohort import Cohort
from healthygan.data.preprocessing import to_tensor
from healthygan.data.store import ImageStore
from healthygan.detectors.padim import PLACES, PaDiM, PaDiMConfig, factorise, gaussians, mahalanobis
from healthygan.detectors.pretrained import smooth_map
from healthygan.runs import train as workflow
from healthygan.runs.config import load_config
from healthygan.runs.partition import partition_cohort

SETTINGS = ("preprocessing.size=32", "detector.channels=20", "training.device=cpu")


def draws(places=3, images=200, width=5):
    """P x n x d draws of a known Gaussian at each place."""
    random = np.random.default_rng(0)
    factors = random.standard_normal((places, width, width))
    return np.einsum("pij,pnj->pni", factors, random.standard_normal((places, images, width))) + 50


def test_distances_in_features_of_a_known_gaussian_are_scipy_s():
    data = draws()
    mean, covariance = gaussians(iter(torch.from_numpy(data).float().split([64, 64, 1, 71], dim=1)))
    found = mahalanobis(torch.from_numpy(data[:, :10]).float().mT, mean, torch.linalg.cholesky(covariance))
    for place in range(3):
        inverse = np.linalg.inv(np.cov(data[place].T))
        expected = [scipy_mahalanobis(x, data[place].mean(0), inverse) for x in data[place, :10]]
        np.testing.assert_allclose(found[place], expected, rtol=1e-4)


def test_streamed_covariances_do_not_depend_on_how_images_come_and_do_not_cancel():
    data = torch.from_numpy(draws() + 10_000)
    mean, covariance = gaussians(iter(data.float().split(7, dim=1)))
    np.testing.assert_allclose(mean, data.mean(dim=1), rtol=1e-6)
    for place in range(3):
        expected = np.cov(data[place].T)
        np.testing.assert_allclose(covariance[place], expected, atol=5e-3 * np.abs(expected).max())


def test_statistics_and_factors_round_once_wherever_a_place_lies():
    """More places than are computed at a time, of features far from 0 and nearly dependent on each other."""
    data = torch.from_numpy(draws(places=2 * PLACES["cpu"] + 1)).float()
    mean, covariance = gaussians(iter(data.split([64, 1, 135], dim=1)))
    assert mean.dtype == covariance.dtype == torch.float32
    exact = np.stack([np.cov(rows.T) for rows in data.double().numpy()])
    assert torch.equal(mean, data.double().mean(dim=1).float())
    np.testing.assert_allclose(covariance, exact, rtol=0, atol=3e-7 * np.abs(exact).max())
    factors = factorise(covariance.clone())
    np.testing.assert_array_equal(factors, np.linalg.cholesky(covariance.double().numpy()).astype(np.float32))


def test_a_covariance_that_is_not_positive_is_told():
    with pytest.raises(torch.linalg.LinAlgError):
        factorise(-torch.eye(3)[None])


def test_one_image_has_no_covariance():
    with pytest.raises(InputError, match="two healthy images or more, here are 1"):
        gaussians(iter([torch.ones(3, 1, 5)]))


@pytest.fixture(scope="module")
def trained(manifest, tmp_path_factory):
    folder = tmp_path_factory.mktemp("padim") / "run"
    return workflow.train(load_config("padim", SETTINGS), Cohort.from_manifest(manifest), folder)


def test_the_whole_is_the_paper_s_in_float64(trained, manifest):
    """Embedding, covariance + 0.01 I, distances, computed anew with NumPy from the backbone's maps."""
    detector, config, _ = workflow.load(trained, "cpu")
    images = partition_cohort(Cohort.from_manifest(manifest), config.selection, None).healthy
    store = ImageStore.build([image.path for image in images], config.preprocessing)
    x = to_tensor(store.read(np.arange(len(store))))
    maps = [part.double().numpy() for part in detector.backbone.features(x, (1, 2, 3))]
    grid = maps[0].shape[2]
    wide = np.concatenate([part.repeat(grid // part.shape[2], 2).repeat(grid // part.shape[2], 3) for part in maps], 1)
    wide = wide[:, detector.kept.numpy()].reshape(len(x), 20, -1)
    expected = np.empty((len(x), grid * grid))
    for place in range(grid * grid):
        rows = wide[:, :, place]
        away = rows - rows.mean(0)
        inverse = np.linalg.inv(np.cov(rows.T) + 0.01 * np.eye(20))
        expected[:, place] = np.sqrt(np.einsum("ni,ij,nj->n", away, inverse, away))
    smooth = smooth_map(torch.from_numpy(expected).view(len(x), 1, grid, grid), x.shape[-2:], 4.0)
    found = detector.predict(x)
    np.testing.assert_allclose(found.score, smooth.amax(dim=(1, 2, 3)), rtol=2e-3)
    power = (smooth / (2 * 20**0.5)) ** 4
    np.testing.assert_allclose(found.difference, power / (1 + power), atol=2e-3)


def test_train_and_evaluate(trained, tmp_path):
    found = evaluate(trained, None, tmp_path, device="cpu")
    assert found.performance is not None and found.performance.auc > 0.8
    assert found.pixel_auroc is not None and found.pixel_auroc > 0.6


def test_the_kept_channels_come_from_the_seed_and_go_with_the_model(trained):
    one, same, other = (PaDiM(PaDiMConfig(channels=20), 1, 32, seed) for seed in (0, 0, 1))
    assert torch.equal(one.kept, same.kept) and not torch.equal(one.kept, other.kept)
    assert len(set(one.kept.tolist())) == 20
    other.load_state_dict(workflow.load(trained, "cpu")[0].state_dict())
    assert torch.equal(other.kept, one.kept)


def test_more_channels_than_there_are_are_refused():
    with pytest.raises(InputError, match=r"detector.channels=177: the layers have 176"):
        PaDiM(PaDiMConfig(channels=177), 1, 32)
