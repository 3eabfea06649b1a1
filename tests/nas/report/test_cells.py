"""The drawings of an architecture: exactly its decisions, well-formed, escaped, and written whole."""

import os
import sys
import xml.etree.ElementTree as ET

import networkx as nx
import pytest
from PIL import Image

from nas.errors import SaveError
from nas.report import cell_graphs
from nas.report import cells as draw

NORMAL = [["sep3@0", "skip@1"], ["dil3@2", "dil3@0"], ["dil3@3", "sep3@2"], ["dil3@4", "dil3@3"]]
REDUCE = [["max3@0", "part@1"], ["sep3@0", "dil3@2"], ["dil3@2", "max3@0"], ["dil3@4", "dil3@3"]]


def cells(**kinds):
    decisions = {
        f"backbone.{kind}.{node}": edges for kind, nodes in kinds.items() for node, edges in enumerate(nodes, start=2)
    }
    return {"format": 1, "space": "ReID", "hash": "3f2a", "decisions": decisions}


ARCHITECTURE = cells(normal=NORMAL, reduce=REDUCE)


def svg_text(path):
    return " ".join(ET.parse(path).getroot().itertext())


def test_graphs_hold_exactly_the_decisions():
    graphs = cell_graphs.cell_graphs(ARCHITECTURE)
    assert set(graphs) == {"backbone.normal", "backbone.reduce"}
    for kind, nodes in (("normal", NORMAL), ("reduce", REDUCE)):
        graph = graphs[f"backbone.{kind}"]
        for node, edges in enumerate(nodes, start=2):
            found = [f"{data['operation']}@{tail}" for tail, _, data in graph.in_edges(node, data=True)]
            assert sorted(found) == sorted(edges)
        assert sorted(graph.predecessors("output")) == [2, 3, 4, 5]
        assert not list(graph.predecessors(0)) and not list(graph.predecessors(1))


def test_two_operations_on_the_same_input_are_two_edges():
    graph = cell_graphs.cell_graphs(cells(normal=[["sep3@0", "max3@0"]]))["backbone.normal"]
    assert graph.number_of_edges(0, 2) == 2


def test_an_edge_is_labelled_with_its_operation_and_input():
    graph = cell_graphs.cell_graphs(cells(normal=[["part@0", "my_op@1"]]))["backbone.normal"]
    labels = {label for *_, label in graph.edges(data="label") if label}
    assert labels == {"part-aware · from 0", "my_op · from 1"}


@pytest.mark.parametrize(
    ("nodes", "depth", "width", "num_paths"),
    [
        ([["sep3@0", "skip@1"]], 1, 1, 2),
        ([["sep3@0", "max3@0"]], 1, 1, 2),  # two operations on one input; the other input is not used
        ([["sep3@0", "skip@1"], ["sep3@0", "skip@1"], ["sep3@0", "skip@1"]], 1, 3, 6),  # side by side
        ([["sep3@0"], ["sep3@2"], ["sep3@3"]], 3, 1, 3),  # one after the other; each is concatenated
        # To 2 lead 2 paths, to 3 those and one of its own, to 4 the 2 of 2 and 1, to 5 the 3 of 3 and the 3 of 4.
        ([["sep3@0", "skip@1"], ["sep3@2", "skip@0"], ["sep3@2", "skip@1"], ["sep3@3", "skip@4"]], 3, 2, 2 + 3 + 3 + 6),
        (NORMAL, 4, 1, 2 + 3 + 5 + 8),
        (REDUCE, 3, 2, 2 + 3 + 3 + 6),
    ],
)
def test_depth_width_and_paths_of_a_cell(nodes, depth, width, num_paths):
    graph = cell_graphs.cell_graphs(cells(normal=nodes))["backbone.normal"]
    assert cell_graphs.cell_shape(graph) == cell_graphs.CellShape(depth=depth, width=width, num_paths=num_paths)
    every = [path for state in (0, 1) for path in nx.all_simple_edge_paths(graph, state, "output")]
    assert len(every) == num_paths and max(map(len, every)) == depth + 1


def test_an_input_that_does_not_exist_is_an_error():
    with pytest.raises(ValueError, match=r"backbone\.normal\.2 must take its inputs from one of 0, 1; it names 4"):
        cell_graphs.cell_graphs(cells(normal=[["sep3@0", "skip@4"]]))


def test_drawings_name_every_operation(tmp_path):
    paths = draw.draw(ARCHITECTURE, tmp_path / "pictures")
    assert [path.name for path in paths] == [
        "backbone.normal.svg", "backbone.normal.png", "backbone.reduce.svg", "backbone.reduce.png",
    ]  # fmt: skip
    text = svg_text(paths[0])
    assert all(label in text for label in ("sep conv 3x3", "dilated conv 3x3", "identity", "from 4", "k-2"))
    assert "part-aware" in svg_text(paths[2])
    assert not [name for name in os.listdir(tmp_path / "pictures") if name.startswith(".")]


def test_png_has_text_where_no_font_is_installed(tmp_path, monkeypatch):
    """Boxes instead of letters make all operations of the same length look the same."""
    empty = tmp_path / "fonts.conf"
    empty.write_text("<fontconfig></fontconfig>")
    monkeypatch.setenv("FONTCONFIG_FILE", str(empty))
    pictures = [
        Image.open(draw.render(draw.table_to_dot({"decision": word}), tmp_path / word)[1]).convert("L")
        for word in ("nnnnnn", "uuuuuu")
    ]
    assert pictures[0].size == pictures[1].size
    assert pictures[0].tobytes() != pictures[1].tobytes()


def test_names_that_look_like_markup_are_shown_as_they_are(tmp_path):
    hostile = {"decisions": {"head.</td><script>\\N\n&": "<b>\x00</b>", "a/../b.normal.2": ["<i>&@0", "\\l:n@1"]}}
    paths = draw.draw(hostile, tmp_path)
    assert all(path.parent == tmp_path for path in paths)
    texts = [svg_text(path) for path in paths if path.suffix == ".svg"]
    assert "<i>&" in texts[0] and "\\l:n" in texts[0]
    assert "head.</td><script>\\N\N{REPLACEMENT CHARACTER}&" in texts[1]
    assert "<b>\N{REPLACEMENT CHARACTER}</b>" in texts[1]


def test_decisions_outside_cells_are_a_table(tmp_path):
    architecture = {"decisions": {"block3.op": "k5e6", "width": 1.25, "order": ["a", "b"], "odd.1": ["sep3@0"]}}
    assert cell_graphs.cell_graphs(architecture) == {}
    assert cell_graphs.as_text(architecture).splitlines() == [
        "decisions", "  block3.op  k5e6", "  width      1.25", "  order      a, b", "  odd.1      sep3@0",
    ]  # fmt: skip
    assert "k5e6" in svg_text(draw.draw(architecture, tmp_path)[0])


def test_long_names_and_names_that_become_alike_have_files_of_their_own(tmp_path):
    decisions = {
        f"{name}.normal.2": ["sep3@0", "skip@1"] for name in ("\N{GRINNING FACE}a" * 200, "a/b", "a?b", "\x1b[31m")
    }
    paths = draw.draw({"decisions": decisions}, tmp_path)
    assert len({*paths}) == 8 and all(path.parent == tmp_path and path.exists() for path in paths)
    assert "\x1b" not in cell_graphs.as_text({"decisions": decisions})


def test_as_text_lists_every_node():
    lines = cell_graphs.as_text(ARCHITECTURE).splitlines()
    assert "  node 2 = sep conv 3x3(c_{k-2}) + identity(c_{k-1})" in lines
    assert "  node 5 = dilated conv 3x3(node 4) + dilated conv 3x3(node 3)" in lines
    assert lines.count("  output = concat(node 2, node 3, node 4, node 5)") == 2


def test_a_system_dot_program_is_used_first(tmp_path, monkeypatch):
    program = tmp_path / "dot"
    program.write_text(f"#!{sys.executable}\nimport sys\nsys.stdin.read()\nprint('drawn with', *sys.argv[1:])\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    svg, png = draw.render(draw.table_to_dot({"a": "b"}), tmp_path / "picture")
    assert svg.read_text().strip() == "drawn with -Tsvg" and png.read_text().strip() == "drawn with -Tpng"


def test_without_graphviz_the_error_says_what_to_install(tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr(draw, "find_spec", lambda name: None)
    with pytest.raises(RuntimeError, match="pip install 'pygraphviz"):
        draw.render(draw.table_to_dot({"a": "b"}), tmp_path / "picture")
    assert os.listdir(tmp_path) == []


def test_a_failed_write_leaves_the_old_file(tmp_path, monkeypatch):
    path = tmp_path / "picture.svg"
    path.write_bytes(b"old")

    def fail(*_):
        raise OSError("no space left")

    monkeypatch.setattr("os.replace", fail)
    with pytest.raises(SaveError, match="no space left"):
        draw.render(draw.table_to_dot({"a": "b"}), tmp_path / "picture")
    assert path.read_bytes() == b"old" and os.listdir(tmp_path) == ["picture.svg"]
