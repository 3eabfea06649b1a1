"""`table.json` of `nas tabulate`, as every command that reads it takes it, and as its tables show it."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from nas.report.numbers import MISSING, check_number, multiply_adds, percent
from nas.report.table import Row, Table
from nas.system.files import blamed_on, check_format, read_object

FORMAT = 1
FILE = "table.json"
ALL, BY_CHANCE = "all", "by chance"
"""How the architectures of a table were chosen."""


def read_table(path: Path) -> dict[str, Any]:
    """The table in a file. Raises ValueError naming the file when it is missing, of a later version, or no table of
    `nas tabulate`."""
    table = read_object(path)
    with blamed_on(path):
        check_format(table, FORMAT, path)
        if not {"architectures", "arms", "seeds", "chosen"} <= table.keys():
            raise ValueError(
                f"{path} has no architectures with arms and seeds: it must be the {FILE} of a `nas tabulate`"
            )
        hashes = [row["hash"] for row in table["architectures"]]
        if len({*hashes}) < len(hashes):
            raise ValueError("two architectures have the same hash")
        for row in table["architectures"]:
            check_number(row["multiply_adds"], f"multiply_adds of {row['hash']}")
            for run in row["runs"]:
                if run["arm"] not in table["arms"] or run["seed"] not in table["seeds"]:
                    raise ValueError(f"a run of {row['hash']} has an arm or a seed that is none of the table's")
                check_number(run["mAP"], f"mAP of {row['hash']}")
                if not 0 <= run["mAP"] <= 1:
                    raise ValueError(f"mAP of {row['hash']} must be a share from 0 to 1, not {run['mAP']!r}")
    return table


def scores(table: Mapping[str, Any], arm: str) -> dict[str, list[float]]:
    """By its hash the mAP of each architecture, in the order of the seeds; of those that have all seeds in this arm."""
    found = {}
    for row in table["architectures"]:
        by_seed = {run["seed"]: run["mAP"] for run in row["runs"] if run["arm"] == arm}
        if by_seed.keys() >= {*table["seeds"]}:
            found[row["hash"]] = [by_seed[seed] for seed in table["seeds"]]
    return found


def arms_table(summary: Mapping[str, Any]) -> Table:
    """Of each arm how many architectures are whole, the best and the worst, and what decides their order."""
    rows = [
        Row(
            (
                arm["name"],
                str(arm["architectures"]),
                *(percent(arm[key] and arm[key]["mAP"]) for key in ("best", "worst")),
                *(percent(arm[key]) for key in ("sd_architectures", "sd_seeds")),
                *(_tau(arm[key]) for key in ("tau_seeds", "tau_multiply_adds", "spearman_multiply_adds")),
            )
        )
        for arm in summary["arms"]
    ]
    columns = ("arm", "whole", "best mAP", "worst mAP", "σ architectures", "σ seeds")
    return Table((*columns, "τ between seeds", "τ with MACs", "ρ with MACs"), tuple(rows))


def pairs_table(summary: Mapping[str, Any]) -> Table:
    """Of each two arms how far they agree on the order of the architectures."""
    rows = [
        Row(
            (
                f"{pair['first']}, {pair['second']}",
                str(pair["architectures"]),
                *(_tau(pair[key]) for key in ("tau_arms", "tau_seeds")),
                MISSING if pair["interval"] is None else " to ".join(map(_tau, pair["interval"])),
                _tau(pair["tau_means"]),
            )
        )
        for pair in summary["pairs"]
    ]
    columns = ("arms", "whole", "τ between arms", "τ between seeds", "their difference, 95 %", "τ of the means")
    return Table(columns, tuple(rows))


def remarks(table: Mapping[str, Any]) -> list[str]:
    """How much of the table there is, the best and worst of each arm, and what cannot be said yet."""
    trials, chosen, num = table["trials"], table["chosen"], len(table["architectures"])
    lines = [f"{trials['done']} of {trials['planned']} runs are in the table: {num} architectures, {_chosen(chosen)}."]
    if table["missing"]:
        diverged = sum(each["why"] is not None for each in table["missing"])
        lines.append(
            f"{len(table['missing'])} runs are missing"
            + (f", {diverged} of them as their training diverged" if diverged else "")
            + ". The statistics are of the architectures that have all of an arm's seeds."
        )
    macs = {row["hash"]: row["multiply_adds"] for row in table["architectures"]}
    for arm in table["summary"]["arms"]:
        if arm["best"]:
            ends = [
                f"{arm[end]['architecture']} ({percent(arm[end]['mAP'])} mAP, "
                f"{multiply_adds(macs[arm[end]['architecture']])} MACs)"
                for end in ("best", "worst")
            ]
            lines.append(f"{arm['name']}: best {ends[0]}, worst {ends[1]}.")
    return [*lines, *table["summary"]["too_few"]]


def _chosen(chosen: Mapping[str, Any]) -> str:
    how = "all of the space" if chosen["how"] == ALL else f"drawn by chance (seed {chosen['seed']})"
    if chosen["multiply_adds"] is None:
        return how
    return f"{how} of {multiply_adds(chosen['multiply_adds'])} MACs, give or take {100 * chosen['within']:g} %"


def _tau(value: float | None) -> str:
    return MISSING if value is None else f"{value:.2f}"
