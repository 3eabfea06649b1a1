"""`nas show RUN`: what a search has found, and how to go on with any of it."""

from __future__ import annotations

import ast
import json
import os
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from importlib.machinery import ModuleSpec
from importlib.util import find_spec
from pathlib import Path
from typing import Annotated, Any, cast

import tyro

from nas.cli.parse import parse
from nas.report.history import read_history
from nas.report.numbers import MEASURED, MISSING, general, millions, milliseconds, multiply_adds, percent
from nas.report.table import Fitted, Row, Table, as_rich, terminal
from nas.stages.search_result import FOUND, SHOWN, Entries, Entry, has_ended, number, read_entries
from nas.study.place import NOTE, STORAGE
from nas.system.files import blamed_on, read_object
from nas.system.run_config import read_config
from search_spaces.architecture import parse_edge
from search_spaces.ranges import Count, Ranged

HISTORY = "search.history.jsonl"


@dataclass(frozen=True)
class Arguments(Ranged):
    """What `nas show` takes."""

    run: Annotated[Path, tyro.conf.Positional, tyro.conf.arg(metavar="RUN")]
    """The folder of a run whose search has ended, or is on its way, or of `nas tune`, `ablate`, `tabulate` or
    `reproduce`."""
    top: Count = SHOWN
    """Entries of the ranked list that are shown, from the best on."""
    json: Annotated[bool, tyro.conf.arg(help="print only JSON on standard output")] = False


def main(arguments: list[str]) -> int:
    """Runs `nas show ARGUMENTS`; the exit status. Raises ValueError for what is no run, or has no search."""
    given = parse(
        Arguments,
        arguments,
        prog="nas show",
        description=(
            "What a search has found, and how to go on with any of it; or how far a study is.\n\n"
            "Example: nas show runs/out/demo-seed0"
        ),
        config=(tyro.conf.FlagCreatePairsOff,),
    )
    if (given.run / NOTE).is_file():
        return _show_study(given)
    shown = show(given.run, given.top)
    if given.json:
        print(json.dumps(shown, indent=2))
    else:
        _print(shown)
    return 0


def show(folder: Path, top: int = SHOWN) -> dict[str, Any]:
    """What the search in a run's folder has found, as plain data.

    `ranked` (the first `top`) and `front` have for each entry its `entry` name, `score` (of the kind `value`), `cost`
    (of the kind `cost`, of the network as it was searched), the `parameters` and `multiply_adds` of the student that it
    is retrained as, without classifier, and its `architecture`. Of a search that has not ended they say what it has
    found so far. torch is imported only where the files do not say what a student costs.
    """
    config = read_config(folder)["config"]
    path = folder / HISTORY
    history = read_history(path)
    found = _found(folder, config, history)
    with blamed_on(path):
        progress = _progress(folder, config["strategy"] or {}, history, found)
    ranked = found.ranked[:top]
    costs = _student_costs(folder, [*ranked, *found.front], folder / FOUND if found.finished else path)
    return {
        "run": str(folder),
        "finished": found.finished,
        **progress,
        "value": found.value,
        "cost": found.cost,
        "num_ranked": len(found.ranked),
        "ranked": [_described(entry, costs[entry.name]) for entry in ranked],
        "front": [_described(entry, costs[entry.name]) for entry in found.front],
        "notes": dict(found.notes),
    }


def _show_study(given: Arguments) -> int:
    """How far a study is, and who is at which trial."""
    from nas.study.watch import watched  # Optuna takes its time

    study = watched(given.run, os.environ.get(STORAGE, ""))
    if given.json:
        print(json.dumps(study, indent=2))
        return 0
    failed = f", {study['failed']} of them diverged" if study["failed"] else ""
    ended = f"{study['done'] + study['failed']} of {study['num_trials']} trials have ended"
    print(f"nas {study['command']}: {ended}{failed}.")
    if study["running"]:
        rows = [
            Row((str(each["trial"]), _what(each["what"]), each["worker"] or MISSING, f"{each['minutes']:.1f}"))
            for each in study["running"]
        ]
        terminal().print(as_rich(Table(("trial", "what", "worker", "minutes"), tuple(rows), text=("what", "worker"))))
    return 0


def _what(facts: Mapping[str, Any]) -> str:
    """What a trial is at, without architectures, which are long."""
    plain = {name: value for name, value in facts.items() if isinstance(value, str | int | float)}
    return ", ".join(f"{name} {value}" for name, value in plain.items())


def _found(folder: Path, config: Mapping[str, Any], history: Sequence[Mapping]) -> Entries:
    if has_ended(folder) or not history or config["strategy"] is None:
        return read_entries(folder)
    from nas.run import Run
    from nas.stages.search_entry import entries_so_far

    run = Run.open(folder)
    with blamed_on(folder / HISTORY):
        return entries_so_far(run, history)


def _student_costs(folder: Path, entries: Sequence[Entry], source: Path) -> dict[str, Mapping[str, int]]:
    """By the names of the entries, which the file `source` has; computed where the search has not left them."""
    unknown = [entry for entry in entries if not entry.student]
    known = {entry.name: entry.student for entry in entries if entry.student}
    if not unknown:
        return known
    from nas.run import Run
    from nas.stages.search_entry import student_cost

    recipe = Run.open(folder).recipe
    with blamed_on(source):
        return known | {entry.name: student_cost(recipe, entry.architecture) for entry in unknown}


def _progress(folder: Path, strategy: Mapping[str, Any], history: Sequence[Mapping], found: Entries) -> dict[str, Any]:
    """The strategy, what of its budget is used, and the minutes it took, as far as they are known."""
    trials = [line for line in history if "score" in line]
    by_trials = "pruning" in strategy  # a field that those have, and only those, whose epochs are a trial's
    environment = folder / "environment.json"
    with blamed_on(environment):
        minutes = number(read_object(environment).get("minutes", {}), "search") if environment.exists() else None
    if not found.finished:
        minutes = sum(line["seconds"] for line in trials) / 60 if by_trials else None
    return {
        "strategy": strategy_name(strategy),
        "done": {"epochs": sum("architecture" not in line for line in history), "trials": len(trials)},
        "budget": {"epochs": 0 if by_trials else strategy.get("epochs", 0), "trials": strategy.get("trials", 0)},
        "minutes": minutes,
        "stopped": next((line["stopped"] for line in history if "stopped" in line), ""),
    }


def strategy_name(strategy: Mapping[str, Any]) -> str:
    """As `--strategy` takes an encoded strategy, or its class's name for one that it does not know."""
    match strategy:
        case {"kind": "OptunaSearch", "sampler": sampler}:
            return sampler
        case {"kind": "NNIOneShot" | "NNIMultiTrial", "algorithm": algorithm}:
            return f"nni:{algorithm}"
        case {"kind": kind}:
            return _names_of_classes().get(kind, kind)
    return "no strategy"


@cache
def _names_of_classes() -> dict[str, str]:
    """What `--strategy` calls the classes that stand in its table without arguments, read from the source: importing it
    imports torch."""
    source = Path(cast(str, cast(ModuleSpec, find_spec("nas.strategies")).origin)).read_text(encoding="utf-8")
    table = next(node.value for node in ast.parse(source).body if isinstance(node, ast.AnnAssign))
    assert isinstance(table, ast.Dict)
    return {
        ast.unparse(made.func): ast.literal_eval(cast(ast.expr, name))
        for name, made in zip(table.keys, table.values, strict=True)
        if isinstance(made, ast.Call) and not made.keywords
    }


def _described(entry: Entry, student: Mapping[str, int]) -> dict[str, Any]:
    return {
        "entry": entry.name,
        "score": entry.score,
        "cost": entry.cost,
        **({"further": dict(entry.further)} if entry.further else {}),
        "parameters": student["parameters"],
        "multiply_adds": student["multiply_adds"],
        "architecture": {**entry.architecture.to_dict(), "hash": entry.architecture.hash},
        **({"changes": dict(entry.overrides)} if entry.overrides else {}),
    }


def _print(shown: Mapping[str, Any]) -> None:
    console = terminal(highlight=False, markup=False)
    used = [f"{shown['done'][unit]} of {most} {unit}" for unit, most in shown["budget"].items() if most]
    minutes = [] if shown["minutes"] is None else [f"{shown['minutes']:.1f} minutes"]
    console.print(", ".join([shown["strategy"], *used, *minutes]))
    if shown["stopped"]:
        console.print(f"stopped: {shown['stopped']}")
    if not shown["finished"]:
        console.print(f"It has not ended. So far it has {'this' if shown['ranked'] else 'nothing to show'}:")
    for rows in (shown["ranked"], shown["front"]):
        if rows:
            console.print(_table(rows, shown["value"], shown["cost"]))
    for line in _shapes(shown["ranked"][0]) if shown["ranked"] else []:
        console.print(line)
    for name, value in shown["notes"].items():
        console.print(f"{name}: {value}")
    console.print(_how_to_go_on(shown))


def _shapes(best: Mapping[str, Any]) -> list[str]:
    """How deep and wide the best one's cells are, where it has cells."""
    from nas.report.cell_graphs import cell_graphs, cell_shape  # networkx takes its time

    graphs = cell_graphs(best["architecture"])
    return [f"{cell} cell of entry {best['entry']}: {cell_shape(graph)}" for cell, graph in graphs.items()]


def _how_to_go_on(shown: Mapping[str, Any]) -> str:
    run = shown["run"]
    if not shown["finished"]:
        return "The same command that began the search goes on with it."
    return (
        f"{len(shown['ranked'])} of {shown['num_ranked']} ranked, all in {run}/architectures.json. Parameters and "
        "MACs are the retrained student's, without classifier.\n"
        f"`nas draw|retrain|export {run} --entry 2` works in {run}/entry-2, with the architecture in its "
        "architecture.json."
    )


def _table(rows: Sequence[Mapping[str, Any]], value: str, cost: str) -> Fitted:
    """Without the columns that would be empty, or say twice what a network costs."""
    columns = {"entry": [row["entry"] for row in rows]}
    if any(row["score"] is not None for row in rows):
        columns[value] = (percent if value.startswith("mAP") else general).column([row["score"] for row in rows])
    for name in dict.fromkeys(name for row in rows for name in row.get("further", {})):
        head, text = MEASURED.get(name, (name, general))
        columns[head] = text.column([row.get("further", {}).get(name) for row in rows])
    if any(row["cost"] not in (None, row["multiply_adds"]) for row in rows):
        name, text = {"latency_ms": ("ms", milliseconds)}.get(cost, ("MACs", multiply_adds))
        columns[f"{name}, searched"] = text.column([row["cost"] for row in rows])
    columns |= {
        "parameters": millions.column([row["parameters"] for row in rows]),
        "MACs": multiply_adds.column([row["multiply_adds"] for row in rows]),
        "hash": [row["architecture"]["hash"] for row in rows],
        "decisions": [in_short(row["architecture"]["decisions"]) for row in rows],
    }
    if any("changes" in row for row in rows):
        columns["settings"] = [_settings(row.get("changes", {})) for row in rows]
    cells = zip(*columns.values(), strict=True)
    return as_rich(Table(tuple(columns), tuple(map(Row, cells)), text=("decisions", "settings")))


def _settings(changes: Mapping[str, Any]) -> str:
    return ", ".join(f"{name} {_value(value)}" for name, value in changes.items())


def _value(encoded: Any) -> str:
    """An encoded setting: a number as it is, a schedule by its name and numbers."""
    if isinstance(encoded, Mapping):
        return " ".join(f"{value:g}" if isinstance(value, float) else str(value) for value in encoded.values())
    return f"{encoded:g}" if isinstance(encoded, float) else str(encoded)


def in_short(decisions: Mapping[str, Any]) -> str:
    """How often each operation is chosen, and each value that is no operation, the most frequent first."""
    counts: Counter[str] = Counter()
    for name, answer in decisions.items():
        if isinstance(answer, list):
            counts.update(parse_edge(edge)[0] for edge in answer)
        else:
            counts[answer if isinstance(answer, str) else f"{name.rpartition('.')[2]} {answer}"] += 1
    return ", ".join(f"{count} {answer}" for answer, count in counts.most_common())
