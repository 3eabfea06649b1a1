"""What a page's script draws of a search and of training, as plain data: the alphas, the trials, the curves."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from nas.report.cell_graphs import operation_name
from nas.report.numbers import MEASURED
from nas.report.plots import COSTS, OTHER, Panel, health_panels, measure_panels
from nas.report.scripts import shortened
from nas.report.style import OPERATION_COLOURS

EDGE = re.compile(r"(?P<cell>.+)\.(?P<node>\d+)<(?P<state>\d+)")
CHOSEN = re.compile(r"(?P<operation>.+)@(?P<state>\d+)")
FIRST_NODE = 2
MOST_RANKED = 20
FEWEST = 5
"""Architectures drawn by chance that say what others would have reached."""
OPERATIONS = {key: {"name": operation_name(key), "colour": colour} for key, colour in OPERATION_COLOURS.items()}
"""What every plot of a page calls an operation, and its colour."""

Costs = Mapping[str, Mapping[str, Mapping[str, float]]]
"""By `macs` or `ms`, decision and option what a candidate costs."""


def of_search(
    history: Sequence[Mapping[str, Any]],
    found: Mapping[str, Any],
    strategy: Mapping[str, Any] | None,
    costs: Costs | None = None,
) -> dict[str, Any]:
    """All that is drawn of a search's history, by the names that templates know it by; arguments as of `searched` and
    `tried`."""
    return {
        "search": searched(history, costs),
        "trials": tried(history, found, strategy),
        "health": lines_of(health_panels(history), "Health of the search", (0, 1)),
        "measures": lines_of(measure_panels(history), "The search"),
    }


def searched(history: Sequence[Mapping[str, Any]], costs: Costs | None = None) -> dict[str, Any] | None:
    """The alphas over the epochs, by cell, with the edges that each epoch's architecture would keep; None without."""
    lines = [line for line in history if line.get("alphas")]
    names = dict.fromkeys(name for line in lines for name in line["alphas"])
    groups: dict[str, list[dict[str, Any]]] = {}
    for name in names:
        edge = EDGE.fullmatch(name)
        groups.setdefault(edge["cell"] if edge else OTHER, []).append(_edge(name, lines, costs or {}))
    if not groups:
        return None
    return {
        "epochs": [line["epoch"] for line in lines],
        "groups": [
            {
                "name": name,
                "numNodes": max((edge["to"] for edge in edges if edge["to"] is not None), default=1) - 1,
                "edges": sorted(edges, key=lambda edge: (edge["to"] or 0, edge["from"] or 0)),
            }
            for name, edges in groups.items()
        ],
        "health": [
            {key: shortened(value) for key, value in line["health"].items()} if line.get("health") else None
            for line in lines
        ],
    }


def _edge(name: str, lines: Sequence[Mapping[str, Any]], costs: Costs) -> dict[str, Any]:
    """One decision: an edge of a cell has the states that it joins, any other none."""
    edge = EDGE.fullmatch(name)
    options = list(dict.fromkeys(key for line in lines for key in line["alphas"].get(name) or {}))
    weights = [line["alphas"].get(name) for line in lines]
    return {
        "name": name,
        "from": int(edge["state"]) if edge else None,
        "to": int(edge["node"]) if edge else None,
        "options": options,
        "weights": [[shortened(each.get(key)) for key in options] if each else None for each in weights],
        "kept": [_kept(name, options, line.get("decisions") or {}) for line in lines],
        **{
            unit: [shortened(of[name].get(key)) for key in options] if name in of else None
            for unit, of in costs.items()
        },
    }


def _kept(name: str, options: Sequence[str], decisions: Mapping[str, Any]) -> int:
    """The place of the option that would be chosen, -1 for none."""
    edge = EDGE.fullmatch(name)
    if edge is None:
        chosen = [str(decisions.get(name))]
    else:
        answers = decisions.get(f"{edge['cell']}.{edge['node']}") or []
        matches = [CHOSEN.fullmatch(str(answer)) for answer in answers]
        chosen = [match["operation"] for match in matches if match and match["state"] == edge["state"]]
    return next((options.index(key) for key in chosen if key in options), -1)


def tried(
    history: Sequence[Mapping[str, Any]], found: Mapping[str, Any], strategy: Mapping[str, Any] | None = None
) -> dict[str, Any] | None:
    """The trials of a search in their order; None without any. `strategy`: as `config.json` has it."""
    trials = [line for line in history if shortened(line.get("score")) is not None]
    if not trials:
        return None
    return _measures(found, trials) | {
        "trials": [
            {
                **{key: shortened(line.get(key), 6) for key in ("score", "cost", "best", "epochs")},
                "further": _further(line),
                "pruned": bool(line.get("pruned")),
                "decisions": (line.get("architecture") or {}).get("decisions") or {},
            }
            for line in trials
        ],
        "byChance": _best_by_chance(trials, strategy or {}),
    }


def _best_by_chance(trials: Sequence[Mapping[str, Any]], strategy: Mapping[str, Any]) -> dict[str, Any] | None:
    """What the best of 1, 2, ... architectures drawn by chance would have reached, as far as those of this search tell
    that were: of draws with replacement the median and the tenths at both ends. None where fewer than `FEWEST` were.
    """
    population = 0 if strategy.get("warm_start") else strategy.get("population", 0)
    first = {"RandomSearch": len(trials), "Evolution": population}.get(str(strategy.get("kind")), 0)
    scores = np.sort([line["score"] for line in trials[:first] if not line.get("pruned")])
    if len(scores) < FEWEST:
        return None
    sizes = np.arange(1, len(trials) + 1)
    ends = {"low": 0.1, "middle": 0.5, "high": 0.9}  # the best of k is at most the i-th of n with (i / n) ** k
    places = {name: np.ceil(len(scores) * share ** (1 / sizes) - 1e-9).astype(int) - 1 for name, share in ends.items()}
    return {"num": len(scores)} | {
        name: [shortened(score, 6) for score in scores[place]] for name, place in places.items()
    }


def listed(found: Mapping[str, Any]) -> dict[str, Any] | None:
    """The best architectures in their order; None without any. Costs are those of the student, not of the network that
    was searched with, where both are known."""
    entries = found.get("ranked", [])[:MOST_RANKED]
    if not entries:
        return None
    return _measures(found, entries) | {
        "entries": [
            {
                "score": shortened(entry.get("score"), 6),
                "further": _further(entry),
                "cost": shortened(student.get(found.get("cost"), entry.get("cost")), 6),
                "parameters": shortened(student.get("parameters"), 6),
                "hash": str(entry["architecture"].get("hash", "")),
                "decisions": entry["architecture"]["decisions"],
            }
            for entry in entries
            for student in [entry.get("student") or {}]
        ]
    }


def _further(line: Mapping[str, Any]) -> dict[str, Any]:
    """What else the search weighed, by its name."""
    return {name: shortened(share, 6) for name, share in (line.get("further") or {}).items()}


def _measures(found: Mapping[str, Any], lines: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """What scores and costs are called, and in what they are plotted; and what else `lines` have, which is shares."""
    value, cost = str(found.get("value", "score")), str(found.get("cost", "cost"))
    title, per_unit = COSTS.get(cost, (cost, 1.0))
    names = {"multiply_adds": "MACs", "latency_ms": "ms"}
    return {
        "value": {"name": value, "percent": value.startswith("mAP")},
        "cost": {"name": names.get(cost, cost), "axis": title, "size": 1 / per_unit},
        "further": [
            {"key": name, "name": MEASURED[name][0] if name in MEASURED else name}
            for name in dict.fromkeys(name for line in lines for name in line.get("further") or {})
        ],
    }


def lines_of(panels: Sequence[Panel], label: str, limits: tuple[float, float] | None = None) -> list[dict[str, Any]]:
    """Curves over the epochs as the view `panels` takes them."""
    low, high = limits or (None, None)
    return [
        {
            "title": title,
            "label": f"{label}: {title}" if title else label,
            "x": {"name": "epoch", "whole": True},
            "y": {"min": low, "max": high},
            "series": [
                {"name": name or title, "x": list(x), "y": [shortened(value) for value in y]} for name, x, y in curves
            ],
            "height": 230,
        }
        for title, _, curves in panels
    ]
