"""The look that all plots share, and how a figure becomes a file: the same bytes for the same data."""

import io
import warnings

import matplotlib
from matplotlib.figure import Figure

from nas.draw import INK, LINE, MUTED

# Okabe and Ito's palette without its yellow, which white paper swallows.
SERIES_COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9")
WIDTH, SMALL = 11.2, (5.2, 3.4)  # of a row of plots; of a single plot and its height, inches
PNG_DPI = 200

STYLE = {
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


def _saved(figure: Figure, **how: object) -> bytes:
    file = io.BytesIO()
    with matplotlib.rc_context(STYLE), warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Glyph")  # the reader's machine has the font of a Chinese name
        figure.savefig(file, **how)
    return file.getvalue()
