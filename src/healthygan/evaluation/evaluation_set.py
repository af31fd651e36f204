"""The images that are judged: decoded, with their units and labels, and what shallow controls tell of them."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from healthygan.common.batching import in_batches
from healthygan.common.progress import Progress, silent
from healthygan.data.cohort import Cohort, CohortImage, Label
from healthygan.data.inspection.controls import control_aucs, controls, told_scores
from healthygan.data.preprocessing import Preprocessing
from healthygan.data.store import ImageStore
from healthygan.runs.aggregation import Units
from healthygan.runs.config import SelectionConfig
from healthygan.stats import metrics

QUANTUM = 4096
"""Images whose shallow statistics are computed at a time."""


@dataclass(frozen=True)
class EvaluationSet:
    """N frames of some images, which make up M units, images or patients."""

    images: Sequence[CohortImage]
    store: ImageStore
    """Of the images, decoded."""
    units: Units

    @classmethod
    def build(
        cls,
        images: Sequence[CohortImage],
        preprocessing: Preprocessing,
        selection: SelectionConfig,
        *,
        strict: bool = False,
        progress: Progress = silent,
    ) -> "EvaluationSet":
        """Decode images, or reuse what was decoded before.

        Raises:
            InputError: no image can be read, or one cannot and ``strict`` is set.
        """
        paths = [image.path for image in images]
        store = ImageStore.build(paths, preprocessing, strict=strict, title="test set", progress=progress)
        return cls(images, store, Units.of(images, store.owner, selection))

    @property
    def labels(self) -> NDArray[np.bool_] | None:
        """(M,), True = diseased; none unless every unit has a label and there are both kinds."""
        return self.units.diseased() if {*self.units.labels()} == {*Label} else None

    def control_aucs(self, trained_on: Cohort, columns: Sequence[str], labels: NDArray[np.bool_]) -> dict[str, float]:
        """AUC of shallow statistics of these images, and of columns as the training sets know them.

        Args:
            trained_on: the cohort that tells how a column's values go with disease; its source column always does.
            columns: further ones.
            labels: (M,), True = diseased.
        """
        shallow = {name: self.units.scores(values) for name, values in self._shallow().items()}
        by_column = told_scores(trained_on, columns, self.units.frames)
        return control_aucs(shallow, labels) | {
            name: metrics.auc(self.units.scores(values), labels) for name, values in by_column.items()
        }

    def _shallow(self) -> dict[str, NDArray[np.float64]]:
        """(N,) of each statistic of the decoded pixels, and the file's size."""
        parts = [
            controls(self.store.read(batch).astype(np.float32).mean(axis=1))
            for batch in in_batches(len(self.store), QUANTUM)
        ]
        values = {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}
        sizes = np.array([image.path.stat().st_size for image in self.units.frames], dtype=np.float64)
        return values | {"file size": sizes}
