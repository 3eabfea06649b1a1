"""An architecture as graphs and as text: its cells, how deep and wide they are, and its other decisions.

Works on the dictionary stored in `architecture.json`. A decision whose value is a list of `"op@input"` is one node of
a cell and is named `<cell>.<node>`: states 0 and 1 are the outputs of the two previous cells, nodes 2, 3, ... are the
cell's own, and the cell's output is their concatenation. Every other decision stands for itself.
"""

import re
from dataclasses import dataclass

import networkx as nx

from nas.errors import CONTROL

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

_EDGE = re.compile(r"(?P<operation>.+)@(?P<input>\d+)")

_INPUT_NAMES = ("c_{k-2}", "c_{k-1}")


def operation_name(key: str) -> str:
    """The name a reader knows an operation by; an operation this page does not know keeps its own."""
    return OPERATION_NAMES.get(key, key)


def cell_graphs(architecture: dict) -> dict[str, nx.MultiDiGraph]:
    """One graph for each kind of cell, by the name all its decisions share (`backbone.normal`).

    Nodes are the numbers of the states and `"output"`; each has a `kind` (input, node, output) and a `label`. Edges
    into a node carry `operation` (its key), `input` and `label`; edges into the output carry nothing.

    Raises:
        ValueError: a node takes its input from a state that the cell does not have, or from a later one.
    """
    cells: dict[str, dict[int, list[tuple[str, int]]]] = {}
    for name, value in architecture["decisions"].items():
        if _is_cell_node(name, value):
            cell, node = name.rsplit(".", 1)
            matches = [_EDGE.fullmatch(edge) for edge in value]
            cells.setdefault(cell, {})[int(node)] = [(m["operation"], int(m["input"])) for m in matches if m]
    return {cell: _cell_graph(cell, nodes) for cell, nodes in cells.items()}


@dataclass(frozen=True)
class CellShape:
    """How deep and how wide a cell is; identities and poolings are operations like any other."""

    depth: int
    """Operations on the longest path from an input to the output; the concatenation is none."""
    width: int
    """The largest number of nodes at the same depth, that of a node being the longest path to it from an input."""
    num_paths: int
    """Paths from the inputs to the output; two operations between the same two states are two paths."""

    def __str__(self) -> str:
        paths = "path" if self.num_paths == 1 else "paths"
        return f"depth {self.depth}, width {self.width}, {self.num_paths} {paths}"


def cell_shape(graph: nx.MultiDiGraph) -> CellShape:
    """Of a cell as `cell_graphs` gives it."""
    _, *nodes, _ = nx.topological_generations(graph)  # the inputs, the nodes by depth, the output
    paths: dict[int | str, int] = {}
    for state in nx.topological_sort(graph):
        before = [paths[tail] for tail, _ in graph.in_edges(state)]
        paths[state] = sum(before) if before else 1
    return CellShape(depth=len(nodes), width=max(map(len, nodes)), num_paths=paths["output"])


def other_decisions(architecture: dict) -> dict[str, str]:
    """What the architecture decides outside its cells, each value as text."""
    return {
        name: ", ".join(map(str, value)) if isinstance(value, list) else str(value)
        for name, value in architecture["decisions"].items()
        if not _is_cell_node(name, value)
    }


def as_text(architecture: dict) -> str:
    """The architecture for a terminal: each cell node by node, the other decisions as an aligned table."""
    parts = [_cell_as_text(cell, graph) for cell, graph in cell_graphs(architecture).items()]
    decisions = other_decisions(architecture)
    if decisions:
        width = max(map(len, decisions))
        parts.append("\n".join(["decisions", *(f"  {name:<{width}}  {value}" for name, value in decisions.items())]))
    return CONTROL.sub("", "\n\n".join(parts))


def _is_cell_node(name: str, value: object) -> bool:
    """Whether a decision is `<cell>.<number>: ["op@input", ...]`."""
    cell, _, node = name.rpartition(".")
    edges = isinstance(value, list) and value and all(isinstance(v, str) and _EDGE.fullmatch(v) for v in value)
    return bool(cell and edges) and node.isdecimal() and int(node) >= len(_INPUT_NAMES)


def _cell_graph(cell: str, nodes: dict[int, list[tuple[str, int]]]) -> nx.MultiDiGraph:
    graph = nx.MultiDiGraph(name=cell)
    for state, label in enumerate(_INPUT_NAMES):
        graph.add_node(state, kind="input", label=label)
    for node, edges in sorted(nodes.items()):
        for _, state in edges:
            if state not in graph:
                known = ", ".join(map(str, graph))
                raise ValueError(f"{cell}.{node} must take its inputs from one of {known}; it names {state}.")
        graph.add_node(node, kind="node", label=str(node))
        for operation, state in edges:
            label = f"{operation_name(operation)} · from {state}"
            graph.add_edge(state, node, operation=operation, input=state, label=label)
    graph.add_node("output", kind="output", label="c_{k}")
    graph.add_edges_from((node, "output") for node in sorted(nodes))
    return graph


def _cell_as_text(cell: str, graph: nx.MultiDiGraph) -> str:
    inner = [node for node, kind in graph.nodes(data="kind") if kind == "node"]
    names = {state: f"node {state}" if state in inner else label for state, label in graph.nodes(data="label")}
    lines = [f"{cell} cell: {cell_shape(graph)}"]
    for node in inner:
        terms = [
            f"{operation_name(data['operation'])}({names[state]})" for state, _, data in graph.in_edges(node, data=True)
        ]
        lines.append(f"  node {node} = {' + '.join(terms)}")
    lines.append(f"  output = concat({', '.join(f'node {node}' for node in inner)})")
    return "\n".join(lines)
