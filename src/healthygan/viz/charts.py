"""Charts and picture panels for reports.

Charts come as PNG bytes and are drawn on Matplotlib figures of their own, never through pyplot's global
state. Panels are (H, W, 3) uint8 arrays. Pictures come in as (H, W) float arrays: images in [-1, 1] (black to
white), masks and difference maps in [0, 1]. Colours are such as colour-blind readers tell apart too.
"""

import io
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import EngFormatter, MaxNLocator

from healthygan.stats.arrays import Floats
from healthygan.viz.overlays import Picture

WIDTH = 4.2  # inches; with 10 pt text this stays legible when a phone shows it 350 px wide
RESOLUTION = 200
METHOD_COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#7f7f7f")
METHOD_LINES = ("-", "--", ":")
RocCurve: TypeAlias = tuple[Floats, Floats]
"""False and true positive rates, (K,) each, rising from 0 to 1."""


@dataclass(frozen=True)
class Tile:
    """One place of a picture grid: a panel, or where there is none only words; and a line below it."""

    picture: Picture | None
    words: str


@dataclass(frozen=True)
class Theme:
    """The colours of a chart."""

    background: str
    ink: str
    faint: str
    healthy: str
    diseased: str
    unlabelled: str


LIGHT = Theme("#ffffff", "#1b2430", "#c9d0d8", "#0072b2", "#d55e00", "#5c6670")
DARK = Theme("#161c24", "#e4e9ef", "#4d5967", "#56b4e9", "#f08a3c", "#a3adb8")


def roc_chart(curve: RocCurve, points: Mapping[str, tuple[float, float]], theme: Theme = LIGHT) -> bytes:
    """ROC curve with operating points marked: the false and the true positive rate of each, by legend entry."""
    figure, axes = _roc_axes(theme, WIDTH)
    axes.plot(*curve, color=theme.healthy, linewidth=2)
    axes.fill_between(*curve, color=theme.healthy, alpha=0.1, linewidth=0)
    for (name, (false_positive_rate, true_positive_rate)), marker in zip(points.items(), "osD^", strict=False):
        axes.plot(
            false_positive_rate,
            true_positive_rate,
            marker,
            color=theme.diseased,
            markeredgecolor=theme.background,
            markersize=10,
            label=name,
            clip_on=False,
            zorder=3,
        )
    _legend(figure, axes, theme)
    return _render(figure)


def roc_comparison(curves: Mapping[str, RocCurve], theme: Theme = LIGHT) -> bytes:
    """Several ROC curves in one chart, by legend entry."""
    figure, axes = _roc_axes(theme, WIDTH + 0.2 * len(curves))
    for number, (name, curve) in enumerate(curves.items()):
        axes.plot(
            *curve,
            color=METHOD_COLOURS[number % len(METHOD_COLOURS)],
            linestyle=METHOD_LINES[number // len(METHOD_COLOURS) % len(METHOD_LINES)],
            linewidth=1.8,
            label=name,
        )
    _legend(figure, axes, theme)
    return _render(figure)


def _roc_axes(theme: Theme, height: float) -> tuple[Figure, Axes]:
    """The unit square with chance as its diagonal."""
    figure, (axes,) = _chart(theme, height)
    axes.plot([0, 1], [0, 1], color=theme.faint, linewidth=1, linestyle="--")
    axes.set(xlim=(0, 1), ylim=(0, 1), aspect="equal")
    axes.set_xlabel("share of healthy images called diseased", color=theme.ink)
    axes.set_ylabel("share of diseased images found", color=theme.ink)
    return figure, axes


def picture_grid(columns: Sequence[str], rows: Mapping[str, Sequence[Tile]], note: str, theme: Theme = LIGHT) -> bytes:
    """Tiles in rows and columns with their titles, and a note below.

    Raises:
        ValueError: a row has another number of tiles than there are columns.
    """
    if wrong := [name for name, tiles in rows.items() if len(tiles) != len(columns)]:
        raise ValueError(f"{wrong}: give {len(columns)} tiles a row")
    figure = Figure(
        figsize=(1.3 * len(columns) + 0.6, 1.5 * len(rows) + 0.7), dpi=RESOLUTION, facecolor=theme.background
    )
    figure.set_layout_engine("constrained", w_pad=0.02, h_pad=0.02)
    places = figure.subplots(len(rows), len(columns), squeeze=False)
    for (name, tiles), line in zip(rows.items(), places, strict=True):
        line[0].set_ylabel(name, color=theme.ink, fontsize=9, parse_math=False)
        for tile, axes in zip(tiles, line, strict=True):
            _place(axes, tile, theme)
    for title, axes in zip(columns, places[0], strict=True):
        axes.set_title(title, color=theme.ink, fontsize=9, parse_math=False)
    figure.supxlabel(note, color=theme.ink, fontsize=8, wrap=True, parse_math=False)
    return _render(figure)


def _place(axes: Axes, tile: Tile, theme: Theme) -> None:
    axes.set(xticks=[], yticks=[])
    for spine in axes.spines.values():
        spine.set_visible(False)
    if tile.picture is None:
        axes.text(0.5, 0.5, tile.words, color=theme.ink, fontsize=8, ha="center", va="center", parse_math=False)
        return
    axes.imshow(tile.picture, interpolation="nearest")
    axes.set_xlabel(tile.words, color=theme.ink, fontsize=7, labelpad=2, parse_math=False)


def histogram(
    *,
    healthy: Floats | None = None,
    diseased: Floats | None = None,
    unlabelled: Floats | None = None,
    thresholds: Mapping[str, float],
    theme: Theme = LIGHT,
) -> bytes:
    """Score distributions, each as shares of its own group, with the thresholds as upright lines."""
    groups = {
        name: (scores, colour)
        for name, scores, colour in (
            ("unlabelled", unlabelled, theme.unlabelled),
            ("healthy", healthy, theme.healthy),
            ("diseased", diseased, theme.diseased),
        )
        if scores is not None and len(scores)
    }
    figure, (axes,) = _chart(theme, 3.0)
    pooled = np.concatenate([scores for scores, _ in groups.values()])
    edges = np.histogram_bin_edges(pooled, int(np.clip(2 * math.sqrt(len(pooled)), 10, 60))).tolist()
    for name, (scores, colour) in groups.items():
        shares = np.full(len(scores), 100 / len(scores))
        axes.hist(scores, edges, weights=shares, histtype="stepfilled", color=colour, alpha=0.25)
        axes.hist(scores, edges, weights=shares, histtype="step", color=colour, linewidth=1.6)
        axes.plot([], [], color=colour, linewidth=5, label=f"{name} ({len(scores):,})")
    for (name, value), style in zip(thresholds.items(), ("--", "-", ":"), strict=False):
        axes.axvline(value, color=theme.ink, linewidth=1.4, linestyle=style, label=name)
    axes.margins(x=0.02)
    axes.set_xlabel("anomaly score", color=theme.ink)
    axes.set_ylabel("% of the group", color=theme.ink)
    _legend(figure, axes, theme)
    return _render(figure)


def training_curve(iterations: Sequence[int], series: Mapping[str, Sequence[float]], theme: Theme = LIGHT) -> bytes:
    """Each series in a small chart of its own, because losses differ in scale; nan leaves a gap.

    Raises:
        ValueError: there is no series, or one is not as long as ``iterations``.
    """
    wrong = [name for name, values in series.items() if len(values) != len(iterations)]
    if wrong or not series:
        raise ValueError(f"{wrong or 'no series'}: give series as long as the {len(iterations)} iterations")
    figure, rows = _chart(theme, 0.5 + 1.25 * len(series), len(series))
    for axes, values in zip(rows, series.values(), strict=True):
        axes.plot(iterations, values, color=theme.healthy, linewidth=1.3)
        axes.margins(x=0.01)
    _over_iterations(rows, list(series), theme)
    return _render(figure)


def selection_curve(
    curves: Mapping[str, Mapping[int, float]], best: Mapping[str, int], chosen: int, theme: Theme = LIGHT
) -> bytes:
    """Each figure of the candidates over iterations: its own best marked, the run's model a dashed line.

    Args:
        curves: values by iteration, by title.
        best: iteration that each title takes.
        chosen: iteration of the run's model.
    """
    figure, rows = _chart(theme, 0.5 + 1.25 * len(curves), len(curves))
    for axes, (name, values) in zip(rows, curves.items(), strict=True):
        axes.axvline(chosen, color=theme.ink, linewidth=1, linestyle="--")
        axes.plot(list(values), list(values.values()), ".-", color=theme.healthy, linewidth=1.3)
        axes.plot([best[name]], [values[best[name]]], "o", color=theme.diseased, markersize=7, zorder=3)
    _over_iterations(rows, list(curves), theme)
    return _render(figure)


def _over_iterations(rows: Sequence[Axes], titles: Sequence[str], theme: Theme) -> None:
    """Titles and the axis of iterations of charts below each other, its numbers under the last alone."""
    for axes, title in zip(rows, titles, strict=True):
        axes.set_title(title, color=theme.ink, fontsize=10, loc="left", parse_math=False)
        axes.tick_params(labelbottom=axes is rows[-1])
        axes.xaxis.set_major_locator(MaxNLocator(5, integer=True))
        axes.xaxis.set_major_formatter(EngFormatter(sep=""))  # 200k for 200,000: a phone has room for these
    rows[-1].set_xlabel("iteration", color=theme.ink)


def _chart(theme: Theme, height: float, rows: int = 1) -> tuple[Figure, list[Axes]]:
    figure = Figure(figsize=(WIDTH, height), dpi=RESOLUTION, facecolor=theme.background, layout="constrained")
    charts = [figure.add_subplot(rows, 1, number + 1, facecolor=theme.background) for number in range(rows)]
    for axes in charts:
        axes.tick_params(colors=theme.ink, labelsize=9, length=3)
        axes.grid(color=theme.faint, linewidth=0.5, alpha=0.6)
        axes.set_axisbelow(True)
        for side, spine in axes.spines.items():
            spine.set_visible(side in ("left", "bottom"))
            spine.set_color(theme.faint)
    return figure, charts


def _legend(figure: Figure, axes: Axes, theme: Theme) -> None:
    handles, names = axes.get_legend_handles_labels()
    if names:
        figure.legend(
            handles, names, loc="outside upper left", ncols=2, fontsize=9, labelcolor=theme.ink, frameon=False
        )


def _render(figure: Figure) -> bytes:
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", metadata={"Software": None})
    return buffer.getvalue()
