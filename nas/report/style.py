"""The look that all plots share, and how a figure becomes a file: the same bytes for the same data."""

import io
import re
import textwrap
import warnings
from typing import Any

import matplotlib
from matplotlib.axes import Axes
from matplotlib.axis import Axis
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator, MaxNLocator, NullLocator

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

INK, MUTED, LINE = "#1c2230", "#5c6473", "#c4cad4"

PAPER = "#fdfdfe"  # what the page's ground takes the place of, where pure white stays white

FILLS = {"input": "#e1eefa", "node": PAPER, "output": "#e4f3e8"}

BORDERS = {"input": "#7fb0dc", "node": "#98a1b0", "output": "#7cbd93"}


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


def contrast(one: Any, other: Any) -> float:
    """The ratio of two colours' luminances, from 1 to 21 (WCAG 2); text that can be read has 4.5."""
    lighter, darker = sorted(map(_luminance, (one, other)), reverse=True)
    return (lighter + 0.05) / (darker + 0.05)


def _luminance(colour: Any) -> float:
    linear = [part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in to_rgb(colour)]
    return sum(weight * part for weight, part in zip((0.2126, 0.7152, 0.0722), linear, strict=True))


LABEL_WIDTH, LABEL_LINES = 30, 3  # of a name in a legend, characters

TICKS = ((200, (1,)), (10, (1, 2, 5)), (3, (1, 1.5, 2, 3, 4, 5, 6, 8)))
"""The steps of a logarithmic axis that spans more than such a ratio; a shorter one has a linear axis's ticks."""

MOST_TICKS = 7

_NOT_IN_XML = re.compile("[^\\t\\n\\r\\x20-\\ud7ff\\ue000-\\ufffd\\U00010000-\\U0010ffff]")


def legend_label(name: str, width: int = LABEL_WIDTH) -> str:
    """A name in lines of `width` characters, the last of at most three cut. A legend leaves out what begins with an
    underscore; a user's name may."""
    lines = textwrap.wrap(name, width) or [""]
    if len(lines) > LABEL_LINES:
        lines = [*lines[: LABEL_LINES - 1], f"{lines[LABEL_LINES - 1][: width - 1]}…"]
    return "\n".join([f" {lines[0]}" if name.startswith("_") else lines[0], *lines[1:]])


def log_ticks(axis: Axis) -> None:
    """A few plain numbers on a logarithmic axis, 0.001 and not 10^-3: the house style has no formulas."""
    left, right = axis.get_view_interval()
    subs = next((subs for ratio, subs in TICKS if right > ratio * left), None)
    axis.set_major_locator(LogLocator(subs=subs, numticks=MOST_TICKS) if subs else MaxNLocator(MOST_TICKS - 2))
    axis.set_major_formatter("{x:g}")
    axis.set_minor_locator(NullLocator())


def percent_axis(axes: Axes) -> None:
    """The vertical axis ends where percentages do."""
    low, high = axes.get_ylim()
    first, last = max(low, 0.0), min(high, 100.0)
    room = 0.03 * (last - first)
    axes.set_ylim(max(low, first - room), min(high, last + room))


def whole_ticks(axes: Axes, most: int = 5) -> None:
    """Ticks of the horizontal axis at whole numbers alone, of which there may be one."""
    left, right = axes.get_xlim()
    if right - left < 1:
        middle = round((left + right) / 2)
        axes.set_xlim(middle - 0.5, middle + 0.5)
    axes.xaxis.set_major_locator(MaxNLocator(most, integer=True, min_n_ticks=1))


def svg(figure: Figure, *, transparent: bool = True) -> str:
    """The figure as SVG whose text stays text; transparent for a page, which has a background of its own."""
    nothing = dict.fromkeys(("Creator", "Date", "Format", "Type"))
    text = _saved(figure, format="svg", transparent=transparent, metadata=nothing).decode()
    return _NOT_IN_XML.sub("\N{REPLACEMENT CHARACTER}", text)


def png(figure: Figure) -> bytes:
    """The figure as PNG on white."""
    return _saved(figure, format="png", dpi=PNG_DPI, facecolor="white", metadata={"Software": None})


def _saved(figure: Figure, **how: Any) -> bytes:
    file = io.BytesIO()
    with matplotlib.rc_context(STYLE), warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Glyph")  # the reader's machine has the font of a Chinese name
        figure.savefig(file, **how)
    return file.getvalue()
