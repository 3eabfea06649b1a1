"""What a table of architectures says of its space and its arms, as plain data."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import combinations
from typing import Any

import numpy as np

from nas.metrics.rankings import agreement, kendall, spearman, tau_within, variance_components
from nas.report.architecture_table import scores

LEAST = 5
"""Architectures from which on something is said of their order."""


def summary(table: Mapping[str, Any]) -> dict[str, Any]:
    """`arms`, `pairs` of arms, and in words what of these is unknown as there is `too_few`.

    Of each arm, over the architectures that have all of its seeds: the `best` and the `worst`, by their mean mAP;
    `sd_architectures` and `sd_seeds`, the components of the variance of mAP; `tau_seeds`, the mean of Kendall's tau
    between two seeds; `tau_multiply_adds` and `spearman_multiply_adds`, the correlation of mean mAP and MACs.

    Of each pair `tau_arms`, the mean of Kendall's tau between a seed of one arm and another seed of the other one;
    `tau_seeds`, which that would be about if the arms had the same order; `interval`, of their difference; `tau_means`,
    Kendall's tau between the means.
    """
    by_arm = {name: scores(table, name) for name in table["arms"]}
    macs = {row["hash"]: row["multiply_adds"] for row in table["architectures"]}
    pairs = [_pair(names, *(by_arm[name] for name in names)) for names in combinations(by_arm, 2)]
    return {
        "arms": [_arm(name, found, macs) for name, found in by_arm.items()],
        "pairs": pairs,
        "too_few": _too_few(table, {name: len(found) for name, found in by_arm.items()}, pairs),
    }


def _arm(name: str, found: Mapping[str, list[float]], macs: Mapping[str, float]) -> dict[str, Any]:
    values = np.array(list(found.values()))
    facts: dict[str, Any] = {"name": name, "architectures": len(found), "best": None, "worst": None}
    names = ("sd_architectures", "sd_seeds", "tau_seeds", "tau_multiply_adds", "spearman_multiply_adds")
    facts |= dict.fromkeys(names)
    if not found:
        return facts
    means, costs = values.mean(axis=1), np.array([macs[each] for each in found])
    for end, place in (("best", means.argmax()), ("worst", means.argmin())):
        facts[end] = {"architecture": list(found)[place], "mAP": float(means[place])}
    if len(found) > 1 and values.shape[1] > 1:
        components = variance_components(list(found.values()))
        facts |= {"sd_architectures": components.between, "sd_seeds": components.within}
    if len(found) >= LEAST:
        facts["tau_seeds"] = tau_within(values)
        facts["tau_multiply_adds"], facts["spearman_multiply_adds"] = kendall(means, costs), spearman(means, costs)
    return facts


def _pair(
    names: tuple[str, str], first: Mapping[str, list[float]], second: Mapping[str, list[float]]
) -> dict[str, Any]:
    both = [each for each in first if each in second]
    facts: dict[str, Any] = {"first": names[0], "second": names[1], "architectures": len(both)}
    facts |= dict.fromkeys(("tau_arms", "tau_seeds", "interval", "tau_means"))
    if len(both) < LEAST:
        return facts
    ours, theirs = (np.array([found[each] for each in both]) for found in (first, second))
    facts["tau_means"] = kendall(ours.mean(axis=1), theirs.mean(axis=1))
    if agreed := agreement(ours, theirs):
        facts |= {"tau_arms": agreed.between, "tau_seeds": agreed.within}
        facts["interval"] = list(agreed.interval) if agreed.interval else None
    return facts


def _too_few(table: Mapping[str, Any], whole: Mapping[str, int], pairs: list[dict[str, Any]]) -> list[str]:
    said = []
    if len(table["seeds"]) == 1:
        said.append(
            "One seed: nothing is known of what seeds do, so neither σ nor τ between seeds: give --seeds 2 or more."
        )
    for name, num in whole.items():
        if num < LEAST:
            said.append(f"{name}: {num} whole architectures are too few for an order, which needs {LEAST}.")
    return said + [
        f"{pair['first']} and {pair['second']} have {pair['architectures']} whole architectures in common, too few for "
        f"an order, which needs {LEAST}."
        for pair in pairs
        if pair["architectures"] < LEAST <= min(whole[pair["first"]], whole[pair["second"]])
    ]
