"""What several seeds of several arms say of each other: means, and paired differences with their statistics."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from nas.metrics.paired import LEVEL, POWER, Estimate, adjusted, holm, joint_interval, paired_t, pairs_needed
from nas.report.metrics import read_metrics
from nas.report.query_results import Queries

MEASURES = ("mAP", "rank1")
"""What each query adds to."""
DETECTED = ("detection_AP", "detection_recall")
"""What networks that detect people have beside it, over all frames."""
LEAST_PAIRS = 2
LEAST_FOR_COVARIATE = 4
"""Pairs from which on the difference at equal MACs is told: a line through three says nothing."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Measured:
    """A network of an evaluated run."""

    values: Mapping[str, float]
    """Shares, by `MEASURES`, and by `DETECTED` where people are detected."""
    multiply_adds: float
    name: str
    ids: np.ndarray
    """Of the queries that have a match, `[Q]`."""
    by_query: Mapping[str, np.ndarray]
    """`MEASURES` of those queries, float64 `[Q]`."""


def read_measured(folder: Path, role: str) -> Measured:
    """The network of this role in an evaluated run. Raises ValueError when the run has none."""
    rows = {row.get("role"): row for row in read_metrics(folder / "metrics.json")["rows"] if not row.get("rerank")}
    if role not in rows:
        raise ValueError(f"{folder} has no network {role!r}; it has {', '.join(map(str, rows))}")
    return measured(rows[role], Queries.load(folder / rows[role]["queries"]))


def measured(row: Mapping[str, Any], queries: Queries) -> Measured:
    """The network of a row of `metrics.json`, with what each of its queries found."""
    answered = ~np.isnan(queries.average_precision)
    return Measured(
        values={name: row[name] for name in (*MEASURES, *DETECTED) if name in MEASURES or row.get(name) is not None},
        multiply_adds=row.get("multiply_adds") or 0.0,
        name=row["name"],
        ids=queries.ids[answered],
        by_query={
            "mAP": queries.average_precision[answered],
            "rank1": (queries.first_match_rank[answered] == 1).astype(np.float64),
        },
    )


def arm_facts(networks: Mapping[int, Measured]) -> dict[str, Any]:
    """Of an arm's networks by their seeds: means and standard deviations, as plain data."""
    facts: dict[str, Any] = {"seeds": sorted(networks)}
    for measure in _shared(networks.values()):
        values = [networks[seed].values[measure] for seed in facts["seeds"]]
        spread = float(np.std(values, ddof=1)) if len(values) > 1 else None
        facts[measure] = {"mean": float(np.mean(values)), "sd": spread, "values": values}
    return facts | {"multiply_adds": float(np.mean([network.multiply_adds for network in networks.values()]))}


def contrast(first: Mapping[int, Measured], second: Mapping[int, Measured], seed: int = 0) -> dict[str, Any]:
    """The first arm minus the second over the seeds that both have, as plain data.

    By measure that all have: `mean` and `sd` of the paired differences, `interval` and `p` of the paired t-test,
    `pairs_needed` to see a difference of this size; `at_equal_macs`, the same difference with the MACs as a covariate;
    of `MEASURES` also `joint_interval`, over seeds and identities together. With fewer than two pairs there is no test.
    `seed`: of the bootstrap.
    """
    shared = sorted(first.keys() & second.keys())
    pairs = [(first[each], second[each]) for each in shared]
    macs = np.array([one.multiply_adds - other.multiply_adds for one, other in pairs])
    facts: dict[str, Any] = {"seeds": shared, "multiply_adds": float(macs.mean()) if pairs else None}
    for measure in _shared([network for pair in pairs for network in pair]):
        differences = np.array([one.values[measure] - other.values[measure] for one, other in pairs])
        facts[measure] = _difference(differences, macs)
        if len(pairs) >= LEAST_PAIRS and measure in MEASURES:
            by_query = np.stack([one.by_query[measure] - other.by_query[measure] for one, other in pairs])
            rng = np.random.default_rng(seed)
            facts[measure]["joint_interval"] = list(joint_interval(by_query, pairs[0][0].ids, rng))
    return facts


def with_holm(contrasts: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """The contrasts with their p-values of each measure after Holm's correction over all of them, as `p_holm`."""
    for measure in (*MEASURES, *DETECTED):
        known = {
            str(place): each[measure]["p"]
            for place, each in enumerate(contrasts)
            if each.get(measure, {}).get("p") is not None
        }
        for place, p in holm(known).items():
            contrasts[int(place)][measure]["p_holm"] = p
    return list(contrasts)


def _shared(networks: Iterable[Measured]) -> list[str]:
    """What all of them were measured by."""
    measured = [network.values for network in networks]
    return [*MEASURES, *(name for name in DETECTED if measured and all(name in values for values in measured))]


def _difference(differences: np.ndarray, macs: np.ndarray) -> dict[str, Any]:
    if len(differences) < LEAST_PAIRS:
        return {"mean": float(differences.mean()) if len(differences) else None}
    deviation = float(differences.std(ddof=1))
    facts: dict[str, Any] = {"sd": deviation, **_estimate(paired_t(differences))}
    facts["pairs_needed"] = pairs_needed(facts["mean"], deviation, LEVEL, POWER)
    if len(differences) >= LEAST_FOR_COVARIATE and np.ptp(macs) > 0:
        facts["at_equal_macs"] = _estimate(adjusted(differences, macs))
    return facts


def _estimate(estimate: Estimate) -> dict[str, Any]:
    return {"mean": estimate.mean, "interval": list(estimate.interval), "p": estimate.p}
