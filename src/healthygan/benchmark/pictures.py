"""A benchmark's results as pictures: ROC curves, and a grid of maps."""

import numpy as np

from healthygan.benchmark.results import Results, Row, short
from healthygan.stats import metrics
from healthygan.stats.arrays import Booleans
from healthygan.viz import charts, overlays

GRID = np.linspace(0, 1, 401)
"""False positive rates at which ROC curves of several seeds are averaged."""
TOP_PERCENTILE = 99.5
"""Of the shown maps of a method: what its colours end at."""


def roc_picture(results: Results) -> bytes:
    """One curve a method, averaged over its seeds at equal false positive rates (PNG)."""
    curves = {}
    for row in results.rows:
        if row.finished:
            mean = metrics.mean_roc([metrics.roc(run.judged, results.test.labels) for run in row.finished], GRID)
            curves[f"{row.method.name} {short(row.cells['auc'].mean)}"] = (GRID, mean)
    return charts.roc_comparison(curves)


def maps_picture(results: Results) -> bytes:
    """Images as rows, diseased ones first; the maps of every method's first seed as columns (PNG)."""
    finished = [row for row in results.rows if row.finished]
    columns = [_map_column(row, results) for row in finished]
    count = {True: 0, False: 0}
    rows = {}
    for number, example in enumerate(results.examples):
        count[example.diseased] += 1
        image = overlays.overlay(example.image, np.zeros_like(example.image), 1.0)
        tiles = [charts.Tile(_outlined(image, example.lesion), "")]
        rows[f"{'diseased' if example.diseased else 'healthy'} {count[example.diseased]}"] = [
            *tiles,
            *(column[number] for column in columns),
        ]
    note = (
        f"Test images drawn blindly. Each method's colours end at the {TOP_PERCENTILE:g}th percentile of its own maps "
        f"here; below a map the score's rank among all, 1 = highest. Cyan: known lesion."
    )
    return charts.picture_grid(["image", *(row.method.name for row in finished)], rows, note)


def _map_column(row: Row, results: Results) -> list[charts.Tile]:
    """The tiles of one method's first seed."""
    predicted = row.finished[0].predicted
    scores, maps = predicted.scores, predicted.maps
    ranks = [int((scores > scores[number]).sum()) + 1 for number in predicted.shown]
    if maps is None:
        return [
            charts.Tile(None, f"no map\nscore {scores[number]:.3g}\nrank {rank:,}")
            for number, rank in zip(predicted.shown, ranks, strict=True)
        ]
    top = max(float(np.percentile(maps, TOP_PERCENTILE)), 1e-6)
    return [
        charts.Tile(
            _outlined(overlays.overlay(example.image, difference, top), example.lesion),
            f"rank {rank:,}",
        )
        for example, difference, rank in zip(results.examples, maps, ranks, strict=True)
    ]


def _outlined(picture: overlays.Picture, lesion: Booleans | None) -> overlays.Picture:
    return picture if lesion is None else overlays.outline(picture, lesion)
