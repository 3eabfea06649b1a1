"""What the pages of `nas tune` and `nas ablate` draw, as plain data."""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from nas.report.scripts import shortened

MOST_AXES = 8
"""Parameters with an axis of their own among the parallel ones, the most important first."""
MOST_BARS = 12
LONGEST = 100
"""Characters of a value that is shown."""


def tuned(found: Mapping[str, Any], folder: Path | None = None) -> dict[str, Any] | None:
    """The trials of a study, as `trials.json` has them; None without any. `folder`: where its tuned files are."""
    rows = found["trials"]
    if not rows:
        return None
    importances = found["importances"]
    names = list(dict.fromkeys(name for row in rows for name in row["params"]))
    names.sort(key=lambda name: -importances.get(name, 0.0))
    trials = sorted(map(_trial, rows), key=lambda trial: trial["number"])
    return {
        "trials": trials,
        "importances": [[name, shortened(importances[name])] for name in names if importances.get(name)][:MOST_BARS],
        "axes": [axis for name in names if (axis := _axis(name, trials))][:MOST_AXES],
        "weighsCost": len(found["objectives"]) > 1,
        "commands": _commands(found, folder) if folder else [],
    }


def _trial(row: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "number": row["trial"],
        "state": row["state"],
        "best": bool(row["best"]),
        "mAP": shortened(row["mAP"], 6),
        "cost": shortened(row["multiply_adds"], 6),
        "minutes": shortened(row["minutes"]),
        "epochs": row["epochs_told"],
        "worker": row["worker"],
        "why": row["why"],
        "params": {name: _value(value) for name, value in row["params"].items()},
        "decisions": (row["architecture"] or {}).get("decisions"),
    }


def _value(value: Any) -> float | str | None:
    """A number as a plot shows it, anything else as text."""
    if isinstance(value, int | float) and not isinstance(value, bool):
        return shortened(value, 6)
    return str(value)[:LONGEST]


def _axis(name: str, trials: Sequence[Mapping[str, Any]]) -> dict[str, Any] | None:
    """A parameter that differs: a `log` axis where its numbers span two powers of ten, or its `words`."""
    values = [trial["params"][name] for trial in trials if trial["mAP"] is not None and name in trial["params"]]
    if len(set(values)) < 2:
        return None
    if not all(isinstance(value, float) for value in values):
        return {"name": name, "words": sorted({str(value) for value in values})}
    return {"name": name, "log": min(values) > 0 and max(values) > 100 * min(values)}


def _commands(found: Mapping[str, Any], folder: Path) -> list[dict[str, str]]:
    """The command that runs each of the best trials, the most accurate first."""
    several = len(found["objectives"]) > 1
    return [
        {
            "name": f"Trial {row['trial']}",
            "command": shlex.join(["nas", "run", found["recipe"], "--overrides", str(folder / _file(row, several))]),
        }
        for row in found["trials"]
        if row["best"]
    ]


def _file(row: Mapping[str, Any], several: bool) -> str:
    return f"tuned-trial{row['trial']}.json" if several else "tuned.json"


def ablated(found: Mapping[str, Any]) -> dict[str, Any] | None:
    """The mAP (%) of every network of an ablation by seed, and the contrasts (points); None before they are shown."""
    if not found.get("arms"):
        return None
    return {
        "seeds": sorted({seed for arm in found["arms"] for seed in arm["seeds"]}),
        "arms": [
            {
                "name": arm["name"],
                "mean": _percent(arm["mAP"]["mean"]),
                "values": {
                    str(seed): _percent(value) for seed, value in zip(arm["seeds"], arm["mAP"]["values"], strict=True)
                },
            }
            for arm in found["arms"]
        ],
        "contrasts": [
            {
                "name": f"{contrast['first']} − {contrast['second']}",
                "primary": bool(contrast["primary"]),
                "pairs": len(contrast["seeds"]),
                "mean": _percent(contrast["mAP"]["mean"]),
                "interval": _ends(contrast["mAP"].get("interval")),
                "joint": _ends(contrast["mAP"].get("joint_interval")),
                "p": shortened(contrast["mAP"].get("p_holm"), 3),
            }
            for contrast in found.get("contrasts", [])
            if contrast["mAP"].get("mean") is not None
        ],
    }


def _percent(share: float | None) -> float | None:
    return None if share is None else shortened(100 * share)


def _ends(interval: Sequence[float] | None) -> list[float | None] | None:
    return None if interval is None else [_percent(end) for end in interval]
