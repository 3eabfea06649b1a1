"""The look that all plots share, and how a figure becomes a file: the same bytes for the same data."""

import io
import warnings
from typing import Any

import matplotlib
from matplotlib.figure import Figure

OPERATION_NAMES = {
    "sep3": "sep conv 3x3",
    "sep5": "sep conv 5x5",
    "dil3": "dilated conv 3x3",
    "dil5": "dilated conv 5x5",
    "part": "part-aware",
    "max3": "max pool 3x3",
    "avg3": "avg pool 3x3",
    "skip": "identity",
    "none": "none",
}

# Okabe and Ito's palette, which colour-blind readers can tell apart.
OPERATION_COLOURS = {
    "sep3": "#0072b2",
    "sep5": "#003f7d",
    "dil3": "#56b4e9",
    "dil5": "#2a7f8e",
    "part": "#d55e00",
    "max3": "#009e73",
    "avg3": "#e69f00",
    "skip": "#cc79a7",
    "none": "#8d939c",
}

INK, MUTED, LINE = "#1c2230", "#687080", "#c4cad4"

FILLS = {"input": "#e1eefa", "node": "#ffffff", "output": "#e4f3e8"}

BORDERS = {"input": "#7fb0dc", "node": "#98a1b0", "output": "#7cbd93"}


def operation_name(key: str) -> str:
    """The name a reader knows an operation by; an operation this page does not know keeps its own."""
    return OPERATION_NAMES.get(key, key)


# Okabe and Ito's palette without its yellow, which white paper swallows.
SERIES_COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9")

WIDTH, SMALL = 11.2, (5.2, 3.4)  # of a row of plots; of a single plot and its height, inches

PNG_DPI = 200

STYLE: dict[Any, Any] = {
    "svg.fonttype": "none",
    "svg.hashsalt": "report",
    "text.parse_math": False,
    "font.family": "DejaVu Sans",
    "font.size": 9,
    "text.color": INK,
    "axes.labelcolor": MUTED,
    "axes.edgecolor": LINE,
    "axes.titlesize": 9,
    "axes.titlecolor": INK,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "axes.formatter.useoffset": False,
    "grid.color": LINE,
    "grid.linewidth": 0.5,
    "grid.alpha": 0.6,
    "xtick.color": MUTED,
    "ytick.color": MUTED,
    "lines.linewidth": 1.6,
    "legend.frameon": False,
}


def legend_label(name: str) -> str:
    """A legend leaves out what begins with an underscore; a user's name may."""
    return f" {name}" if name.startswith("_") else name


def svg(figure: Figure, *, transparent: bool = True) -> str:
    """The figure as SVG whose text stays text; transparent for a page, which has a background of its own."""
    nothing = dict.fromkeys(("Creator", "Date", "Format", "Type"))
    return _saved(figure, format="svg", transparent=transparent, metadata=nothing).decode()


def png(figure: Figure) -> bytes:
    """The figure as PNG on white."""
    return _saved(figure, format="png", dpi=PNG_DPI, facecolor="white", metadata={"Software": None})


def _saved(figure: Figure, **how: Any) -> bytes:
    file = io.BytesIO()
    with matplotlib.rc_context(STYLE), warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Glyph")  # the reader's machine has the font of a Chinese name
        figure.savefig(file, **how)
    return file.getvalue()
