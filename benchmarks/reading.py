"""Images read until 95 % of a pile's diseased are found: at random, by the ranking, and ranked anew by what was read.

    python benchmarks/reading.py CACHE COHORT [COHORT ...] [--every 20] [--seeds 3] [--found 0.95]

The reader is the mixed set's labels. The ranking is that of `contrast`, cross-fitted; anew it is ranked after every so
many images by `detectors/contrast/relearn.py`. No case is drawn at random. Pooled features are kept in CACHE. The mean
over seeds; the test set is not looked at.
"""

import argparse
import math
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from healthygan import load_cohort, load_config
from healthygan.data.cohort import Label
from healthygan.data.store import ImageStore
from healthygan.detectors.contrast.detector import Contrast, ContrastConfig
from healthygan.nn.backbones import load_backbone
from healthygan.runs.partition import Stores, partition_cohort


def pooled(location: Path, cache: Path) -> dict[str, NDArray[Any]]:
    """Features (N, D), is_mixed, groups, diseased, scale and measured of a cohort's training images."""
    kept = cache / f"{location.parent.name}.npz"
    if not kept.exists():
        cache.mkdir(parents=True, exist_ok=True)
        np.savez(kept, **computed(location))
    with np.load(kept) as arrays:
        return dict(arrays)


def computed(location: Path) -> dict[str, NDArray[Any]]:
    """What ``pooled`` keeps."""
    cohort, config = load_cohort(location), load_config("contrast")
    parts = partition_cohort(cohort, config.selection, config.early_stopping_share)
    stores = Stores.build(parts, config.preprocessing, strict=False)
    size = config.preprocessing.size
    detector = Contrast(ContrastConfig(), config.preprocessing.channels, size)
    detector.backbone = load_backbone(size=size)
    diseased = {image.path for image in cohort.images if image.label is Label.DISEASED}

    def features(store: ImageStore) -> NDArray[np.float32]:
        means = [detector._means(detector._maps(x)) if False else x for x in ()]
        del means
        from healthygan.detectors.pretrained import batches
        from healthygan.common.progress import silent
        from healthygan.detectors.contrast.detector import _means

        with torch.no_grad():
            return torch.cat(
                [_means(detector._maps(x)) for x in batches(store, torch.device("cpu"), "features", silent)]
            ).numpy()

    both = (stores.healthy, stores.mixed)
    return {
        "features": np.concatenate([features(store) for store in both]),
        "is_mixed": np.repeat([False, True], [len(store) for store in both]),
        "groups": np.concatenate([np.array(store.frame_groups) for store in both]),
        "diseased": np.array([store.paths[owner] in diseased for store in both for owner in store.owner]),
        "scale": detector._layer_scale(),
        "measured": detector._is_measured(),
    }
