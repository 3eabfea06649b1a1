"""Pictures of an architecture: its cells as graphs, its other decisions as a table.

Works on the dictionary stored in `architecture.json`, as `nas.report.cell_graphs` does.
"""

import os
import re
import shutil
import subprocess
import sys
import tempfile
from html import escape
from importlib.util import find_spec
from pathlib import Path

import graphviz
import matplotlib
import networkx as nx

from nas.report.cell_graphs import cell_graphs, other_decisions
from nas.report.style import BORDERS, FILLS, INK, LINE, MUTED, OPERATION_COLOURS
from nas.system.files import write_bytes

FONT = "DejaVu Sans,Verdana,Arial,sans-serif"  # Verdana has the widths of DejaVu Sans, which the layout is made with

PNG_DPI = 220

LONGEST_STEM = 60  # of a file, characters: four bytes each may be the most that a file system takes


def to_dot(graph: nx.MultiDiGraph) -> graphviz.Digraph:
    """The cell as a Graphviz drawing, left to right; each edge wears its operation as a label in its colour."""
    dot = _canvas(rankdir="LR", nodesep="0.14", ranksep="0.26")
    for node, data in graph.nodes(data=True):
        border, fill = BORDERS[data["kind"]], FILLS[data["kind"]]
        dot.node(str(node), label=_state_label(node, data), color=border, fillcolor=fill)
    with dot.subgraph() as inputs:
        inputs.attr(rank="same")
        inputs.edge("0", "1", style="invis")
    for tail, head, number, data in graph.edges(keys=True, data=True):
        if "operation" in data:
            _draw_edge(dot, str(tail), str(head), f"edge {tail} {head} {number}", data)
        else:
            dot.edge(str(tail), str(head), color=LINE, penwidth="1.2")
    return dot


def table_to_dot(decisions: dict[str, str]) -> graphviz.Digraph:
    """The decisions outside the cells, drawn as a table of two columns in the order they were asked."""
    rows = "".join(
        f'<tr><td align="left"><font color="{MUTED}">{_text(name)}</font></td>'
        f'<td align="left"><b>{_text(value)}</b></td></tr>'
        for name, value in decisions.items()
    )
    table = f'<table border="0" cellborder="1" cellspacing="0" cellpadding="6" color="{LINE}">{rows}</table>'
    dot = _canvas()
    dot.node("decisions", label=f"<{table}>", shape="plain", style="")
    return dot


def render(dot: graphviz.Digraph, path_stem: Path) -> list[Path]:
    """Write `<path_stem>.svg` and `<path_stem>.png`; a reader never sees half a file.

    Uses the `dot` program, or else the Graphviz inside pygraphviz. Both are pointed at the font that matplotlib
    brings along, so that text is legible and laid out alike on a machine without any font.

    Raises:
        RuntimeError: neither is installed, or Graphviz could not draw the picture.
    """
    path_stem = Path(path_stem)
    path_stem.parent.mkdir(parents=True, exist_ok=True)
    print_quality = dot.copy()
    print_quality.attr(dpi=str(PNG_DPI), bgcolor="white")
    written = []
    for kind, drawing in (("svg", dot), ("png", print_quality)):
        path = path_stem.with_name(f"{path_stem.name}.{kind}")
        write_bytes(path, _graphviz(drawing.source, kind))
        written.append(path)
    return written


def to_svg(dot: graphviz.Digraph) -> str:
    """The drawing as an SVG document, for a page that holds its pictures itself; errors as in `render`."""
    return _graphviz(dot.source, "svg").decode()


def draw(architecture: dict, folder: Path) -> list[Path]:
    """Draw every cell, and the other decisions if there are any, as SVG and PNG into `folder`."""
    drawings = {cell: to_dot(graph) for cell, graph in cell_graphs(architecture).items()}
    decisions = other_decisions(architecture)
    if decisions:
        drawings["decisions"] = table_to_dot(decisions)
    stems: dict[str, graphviz.Digraph] = {}
    for name, dot in drawings.items():
        stem = re.sub(r"[^\w.-]+", "_", name)[:LONGEST_STEM]
        stems[f"{stem}-{len(stems)}" if stem in stems else stem] = dot
    return [path for stem, dot in stems.items() for path in render(dot, Path(folder) / stem)]


def _canvas(**graph_attributes: str) -> graphviz.Digraph:
    """An empty drawing in the house style."""
    return graphviz.Digraph(
        graph_attr={"bgcolor": "transparent", "pad": "0.12", "fontname": FONT, **graph_attributes},
        node_attr={
            "shape": "box", "style": "rounded,filled", "fontname": FONT, "fontsize": "13", "fontcolor": INK,
            "height": "0.5", "width": "0.55", "margin": "0.10,0.05", "penwidth": "1.2",
        },
        edge_attr={"penwidth": "1.8", "arrowsize": "0.65"},
    )  # fmt: skip


def _draw_edge(dot: graphviz.Digraph, tail: str, head: str, label: str, data: dict) -> None:
    """An edge in two halves with its label as a node between them: Graphviz lets no line run through a node."""
    colour = OPERATION_COLOURS.get(data["operation"], MUTED)
    look = {"color": colour, "fillcolor": f"{colour}1c", "fontsize": "12", "height": "0.3", "margin": "0.08,0.03"}
    operation, _, origin = data["label"].rpartition(" · ")
    html = f'<{_text(operation)}<br/><font color="{MUTED}" point-size="10">{_text(origin)}</font>>'
    dot.node(label, label=html, **look)
    dot.edge(tail, f"{label}:w", color=colour, arrowhead="none")
    dot.edge(f"{label}:e", head, color=colour)


def _text(value: object) -> str:
    """Text for a Graphviz label: markup and Graphviz's backslash codes escaped, what XML cannot hold replaced."""
    printable = "".join(c if c.isprintable() else "\N{REPLACEMENT CHARACTER}" for c in str(value))
    return escape(printable).replace("\\", "\\\\")


def _state_label(state: int | str, data: dict) -> str:
    """The label of a state: its number, and for what enters and leaves the cell `c_{k-2}` with its index set low."""
    number = "" if state == "output" else f"<b>{_text(state)}</b>"
    match = re.fullmatch(r"c_\{(.+)\}", data["label"])
    name = f'<i>c</i><sub><font point-size="10">{match[1]}</font></sub>' if match else ""
    return f"<{'  '.join(filter(None, (number, name)))}>"


def _graphviz(source: str, kind: str) -> bytes:
    """Run Graphviz on DOT source, in a process of its own that finds at least one font."""
    with tempfile.TemporaryDirectory() as folder:
        fonts = Path(matplotlib.get_data_path(), "fonts", "ttf")
        config = Path(folder, "fonts.conf")
        config.write_text(
            f"<fontconfig><dir>{escape(str(fonts))}</dir><cachedir>{escape(folder)}</cachedir></fontconfig>",
            encoding="utf-8",
        )
        result = subprocess.run(
            _command(kind),
            input=source.encode(),
            capture_output=True,
            env={**os.environ, "FONTCONFIG_FILE": str(config)},
        )
    if result.returncode or not result.stdout:
        raise RuntimeError(f"Graphviz must draw the {kind} but said: {result.stderr.decode(errors='replace').strip()}")
    return result.stdout


def _command(kind: str) -> list[str]:
    """The command that turns DOT on its standard input into a picture on its standard output."""
    if program := shutil.which("dot"):
        return [program, f"-T{kind}"]
    if find_spec("pygraphviz"):
        code = (
            "import sys, pygraphviz; graph = pygraphviz.AGraph(string=sys.stdin.buffer.read().decode());"
            f"sys.stdout.buffer.write(graph.draw(format={kind!r}, prog='dot'))"
        )
        return [sys.executable, "-P", "-c", code]  # -P: without the modules of the working folder
    raise RuntimeError(
        "Drawing needs Graphviz, and there is neither a `dot` program on the PATH nor the pygraphviz package: "
        "`pip install 'pygraphviz>=2.0.4'` brings its own Graphviz; or install the system's graphviz package."
    )
