"""Pictures of what retrieval does: features in the plane, distances of pairs, and cameras against each other.

Every function returns a figure, which `nas.report.style` writes as SVG or PNG. CMC curves are in `nas.report.plots`.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.axis import Axis
from matplotlib.colors import Normalize
from matplotlib.figure import Figure

from nas.metrics.camera_pairs import CameraPairs
from nas.metrics.distance import Distance
from nas.metrics.pairs import PairDistances
from nas.report.numbers import percent
from nas.report.style import INK, MUTED, PAPER, SERIES_COLOURS, SMALL, STYLE, WIDTH, contrast, legend_label, log_ticks

COLOURS = (*SERIES_COLOURS, "#003f7d", "#8d939c", "#7a4a1e")
MARKERS = "os^Dv*<>pPXhd8H+x1234"
LEAST_IMAGES = 4
PERPLEXITY = 30.0
NUM_BARS = 80
MOST_NUMBERED = 24  # cameras; with more, the numbers in the cells could not be read
MOST_IN_A_COLUMN = 28  # cameras in a legend
MOST_LABELLED = 40  # cameras along an axis
LEAST_RATE, LARGEST_LEAST_RATE = 1e-6, 0.1  # of false positives, where a ROC's axis begins
RIGHT_LET_IN = "right pairs let in, TPR (%)"


def chosen_identities(
    query_ids: np.ndarray, gallery_ids: np.ndarray, gallery_cameras: np.ndarray | None, num: int = 9
) -> np.ndarray:
    """The `num` identities among the queries' that most cameras of the gallery see, then most images, then the lowest.

    They are the queries' because distractors have no query; junk (below 0) is none.
    """
    ids = np.unique(query_ids[query_ids >= 0])
    images = np.array([(gallery_ids == each).sum() for each in ids])
    cameras = np.array(
        [0 if gallery_cameras is None else len(np.unique(gallery_cameras[gallery_ids == each])) for each in ids]
    )
    return ids[np.lexsort((ids, -images, -cameras))[:num]]


def tsne(
    features: np.ndarray, ids: np.ndarray, cameras: np.ndarray | None, *, distance: Distance = "cosine", seed: int = 0
) -> Figure:
    """`spread_in_plane`, drawn by `plane`."""
    return plane(*spread_in_plane(features, distance=distance, seed=seed), ids, cameras)


def spread_in_plane(features: np.ndarray, *, distance: Distance = "cosine", seed: int = 0) -> tuple[np.ndarray, float]:
    """The t-SNE (van der Maaten and Hinton, 2008) of `features [N, D]`, `[N, 2]`, and its perplexity: 30, or a third of
    the other images where that is less.

    Raises ValueError for fewer than four images, and for features that are all the same.
    """
    if len(features) < LEAST_IMAGES:
        raise ValueError(f"a t-SNE needs at least {LEAST_IMAGES} images, got {len(features)}: choose more identities")
    if distance == "cosine":
        features = features / np.linalg.norm(features, axis=1, keepdims=True)
    if np.allclose(features, features[0]):
        raise ValueError(f"all {len(features)} features are the same: there is nothing to spread in the plane")
    perplexity = min(PERPLEXITY, (len(features) - 1) / 3)
    return _spread(features, perplexity, seed), perplexity


def plane(places: np.ndarray, perplexity: float, ids: np.ndarray, cameras: np.ndarray | None) -> Figure:
    """Images where a t-SNE puts them: colour and number say the identity, the marker the camera."""
    numbers = [] if cameras is None else np.unique(cameras).tolist()
    markers = {camera: MARKERS[i % len(MARKERS)] for i, camera in enumerate(numbers)}
    with matplotlib.rc_context(STYLE):
        figure = Figure(figsize=(WIDTH / 2 + 1, WIDTH / 2), layout="constrained")
        axes = figure.subplots()
        for number, identity in enumerate(np.unique(ids)):
            mine = ids == identity
            _scatter(axes, places[mine], None if cameras is None else cameras[mine], markers, number)
            axes.annotate(
                str(identity),
                np.median(places[mine], axis=0),
                fontsize=8,
                weight="bold",
                color=INK,
                ha="center",
                va="center",
                bbox={"boxstyle": "round,pad=0.05", "facecolor": PAPER, "edgecolor": "none", "alpha": 0.6},
            )
        axes.set(xticks=[], yticks=[], aspect="equal", adjustable="datalim")
        axes.set_title(f"t-SNE of {len(places)} images, perplexity {perplexity:.3g}", loc="left")
        if cameras is not None:
            _camera_legend(figure, axes, markers)
    return figure


def distance_histogram(pairs: PairDistances) -> Figure:
    """The distances of right and wrong pairs, each as shares of its own, with how well they can be told apart."""
    first, last = np.flatnonzero(pairs.right + pairs.wrong)[[0, -1]]
    step = max(1, -(-(last + 1 - first) // NUM_BARS))
    starts = np.arange(first, last + 1, step)
    ends = np.minimum(starts + step, len(pairs.right))
    edges = np.append(pairs.edges[starts], pairs.edges[ends[-1]])
    with matplotlib.rc_context(STYLE):
        figure = Figure(figsize=SMALL, layout="constrained")
        axes = figure.subplots()
        for name, counts, colour in (
            ("right pairs", pairs.right, SERIES_COLOURS[0]),
            ("wrong pairs", pairs.wrong, SERIES_COLOURS[1]),
        ):
            shares = 100 * np.add.reduceat(counts[: ends[-1]], starts) / counts.sum()
            axes.stairs(shares, edges, color=colour, fill=True, alpha=0.25)
            axes.stairs(shares, edges, color=colour, linewidth=1.4, label=f"{name} ({counts.sum():,})")
        axes.set(xlabel=f"{pairs.distance} distance", ylabel="share of the pairs (%)")
        axes.set_title(f"equal error rate {percent(pairs.equal_error_rate)} %, d′ {pairs.d_prime:.2f}", loc="left")
        axes.legend(fontsize=8)
    return figure


def roc(rows: Sequence[Mapping[str, Any]]) -> Figure | None:
    """The share of right pairs that are let in (%) against that of wrong ones (logarithmic), of each row of
    `metrics.json` that has a `verification`; None where none has. A dotted line is where both errors are equal."""
    verified = [(str(row.get("name")), row["verification"]) for row in rows if row.get("verification")]
    if not verified:
        return None
    smallest = min((rate for _, each in verified for rate in each["roc"]["fpr"] if rate > 0), default=1)
    least = min(max(smallest, LEAST_RATE), LARGEST_LEAST_RATE)
    with matplotlib.rc_context(STYLE):
        figure = Figure(figsize=SMALL, layout="constrained")
        axes = figure.subplots()
        for number, (name, each) in enumerate(verified):
            wrong, right = (np.array(each["roc"][rate], dtype=float) for rate in ("fpr", "tpr"))
            colour, style = SERIES_COLOURS[number % len(SERIES_COLOURS)], "-" if number < len(SERIES_COLOURS) else "--"
            label = f"{legend_label(name)}\nEER {percent(each['eer'])} %"
            axes.step(
                np.maximum(wrong, least / 2), 100 * right, where="post", color=colour, linestyle=style, label=label
            )
        rates = np.geomspace(least, 1, 100)
        axes.plot(rates, 100 * (1 - rates), ":", color=MUTED, linewidth=1)
        axes.set(xscale="log", xlim=(least, 1), ylim=(-3, 103), xlabel="wrong pairs let in, FPR", ylabel=RIGHT_LET_IN)
        log_ticks(axes.xaxis)
        axes.legend(fontsize=8, loc="best")
    return figure


def camera_table(pairs: CameraPairs) -> Figure:
    """mAP and rank-1 (%) of each query camera in each gallery camera; a pair without queries is an empty cell."""
    with matplotlib.rc_context(STYLE):
        height, width = (max(1.8, min(WIDTH / 2, 1.4 + 0.45 * number)) for number in pairs.mAP.shape)
        figure = Figure(figsize=(2 * width, height), layout="compressed")
        for axes, (title, shares) in zip(
            figure.subplots(1, 2), (("mAP", pairs.mAP), ("rank-1", pairs.rank1)), strict=True
        ):
            _heat_map(axes, 100 * shares, pairs)
            axes.set_title(f"{title} (%)", loc="left")
    return figure


def _spread(features: np.ndarray, perplexity: float, seed: int) -> np.ndarray:
    from sklearn.manifold import TSNE  # takes a second to import, which only this picture should cost
    from threadpoolctl import threadpool_limits

    with threadpool_limits(1):  # several threads would add up in any order
        return TSNE(perplexity=perplexity, init="pca", random_state=seed).fit_transform(features.astype(np.float64))


def _scatter(axes: Axes, places: np.ndarray, cameras: np.ndarray | None, markers: dict[int, str], number: int) -> None:
    colour = COLOURS[number % len(COLOURS)]
    if cameras is None:
        axes.scatter(places[:, 0], places[:, 1], s=24, color=colour, linewidths=0.8)
        return
    for camera, marker in markers.items():
        seen = cameras == camera
        if seen.any():
            axes.scatter(places[seen, 0], places[seen, 1], s=24, marker=marker, color=colour, linewidths=0.8)


def _camera_legend(figure: Figure, axes: Axes, markers: dict[int, str]) -> None:
    handles = [
        axes.scatter([], [], s=24, marker=marker, color=MUTED, linewidths=0.8, label=str(camera))
        for camera, marker in markers.items()
    ]
    columns = -(-len(markers) // MOST_IN_A_COLUMN)
    legend = figure.legend(handles=handles, title="camera", loc="outside right upper", fontsize=8, ncols=columns)
    legend.get_title().set_fontsize(8)


def _heat_map(axes: Axes, values: np.ndarray, pairs: CameraPairs) -> None:
    """Values from 0 to 100, the brightest the best; a number is black or white, whichever can be read."""
    image = axes.imshow(np.ma.masked_invalid(values), cmap="cividis", norm=Normalize(0, 100), aspect="equal")
    axes.grid(visible=False)
    _camera_ticks(axes.xaxis, pairs.gallery_cameras, values.shape)
    _camera_ticks(axes.yaxis, pairs.query_cameras, values.shape)
    if max(values.shape) > MOST_NUMBERED / 2:
        axes.tick_params(axis="x", labelrotation=90)
    axes.set(xlabel="camera of the gallery", ylabel="camera of the query")
    if max(values.shape) > MOST_NUMBERED:
        axes.figure.colorbar(image, ax=axes, location="bottom", aspect=30)
        return
    size = 9 if max(values.shape) <= 10 else 6
    for (i, j), value in np.ndenumerate(values):
        if np.isfinite(value):
            cell = image.to_rgba(value)[:3]
            colour = max(("#000000", "#ffffff"), key=lambda ink: contrast(ink, cell))  # one of them has at least 4.58
            axes.text(j, i, f"{value:.0f}", ha="center", va="center", fontsize=size, color=colour)


def _camera_ticks(axis: Axis, cameras: np.ndarray, shape: tuple[int, ...]) -> None:
    """Each camera's number, or so many that none touches the next."""
    step = -(-max(shape) // MOST_LABELLED)
    axis.set_ticks(range(0, len(cameras), step), cameras[::step].tolist())
    axis.set_tick_params(length=0, labelsize=8 if max(shape) <= MOST_NUMBERED / 2 else 7)
