"""What a table says: its statistics against what a few lines of numpy and scipy come to, and what it cannot say yet."""

import numpy as np
import pytest
from scipy.stats import kendalltau, spearmanr

from nas.report.architecture_table import arms_table, pairs_table, remarks
from nas.study.table_facts import summary


def table(values, macs=None, missing=()):
    """Of `values` by arm `[architectures, seeds]`, without the runs (architecture, arm, seed) that are `missing`."""
    num, seeds = next(iter(values.values())).shape
    rows = [
        {
            "hash": f"cell{place}",
            "multiply_adds": 1000 + 10 * (macs[place] if macs is not None else place),
            "runs": [
                {"arm": arm, "seed": seed, "mAP": of[place, seed]}
                for arm, of in values.items()
                for seed in range(seeds)
                if (place, arm, seed) not in missing
            ],
        }
        for place in range(num)
    ]
    lacking = [{"architecture": f"cell{place}", "arm": arm, "seed": seed, "why": None} for place, arm, seed in missing]
    planned = num * seeds * len(values)
    found = {
        "arms": {arm: {} for arm in values},
        "seeds": list(range(seeds)),
        "chosen": {"how": "by chance", "seed": 0, "multiply_adds": 6.2e6, "within": 0.05},
        "trials": {"done": planned - len(missing), "planned": planned},
        "architectures": rows,
        "missing": lacking,
    }
    return found | {"summary": summary(found)}


def noisy(rng, num=12, seeds=2):
    true = rng.uniform(0.2, 0.6, (num, 1))
    return {arm: true + rng.normal(0, 0.03, (num, seeds)) for arm in ("labels", "falling")}


def test_an_arm_has_its_ends_its_spreads_and_its_order():
    values, macs = noisy(np.random.default_rng(0)), np.random.default_rng(1).permutation(12)
    found = table(values, macs)["summary"]["arms"][0]
    labels = values["labels"]
    means = labels.mean(axis=1)
    assert found["best"] == {"architecture": f"cell{means.argmax()}", "mAP": pytest.approx(means.max())}
    assert found["worst"]["architecture"] == f"cell{means.argmin()}"
    squares = labels.var(axis=1, ddof=1).mean()
    assert found["sd_seeds"] == pytest.approx(squares**0.5)
    assert found["sd_architectures"] == pytest.approx((means.var(ddof=1) - squares / 2) ** 0.5)
    assert found["tau_seeds"] == pytest.approx(kendalltau(*labels.T).statistic)
    assert found["tau_multiply_adds"] == pytest.approx(kendalltau(means, macs).statistic)
    assert found["spearman_multiply_adds"] == pytest.approx(spearmanr(means, macs).statistic)


def test_arms_are_compared_across_seeds_and_by_their_means():
    values = noisy(np.random.default_rng(2))
    (pair,) = table(values)["summary"]["pairs"]
    labels, falling = values["labels"], values["falling"]
    across = [kendalltau(labels[:, i], falling[:, 1 - i]).statistic for i in (0, 1)]
    own = [kendalltau(*each.T).statistic for each in (labels, falling)]
    assert pair["tau_arms"] == pytest.approx(np.mean(across))
    assert pair["tau_seeds"] == pytest.approx((own[0] * own[1]) ** 0.5)
    assert pair["tau_means"] == pytest.approx(kendalltau(labels.mean(axis=1), falling.mean(axis=1)).statistic)
    assert pair["interval"][0] <= pair["tau_seeds"] - pair["tau_arms"] <= pair["interval"][1]


def test_only_architectures_with_all_seeds_of_an_arm_count():
    values = noisy(np.random.default_rng(3), num=8)
    found = table(values, missing=[(0, "labels", 1), (7, "falling", 0), (6, "falling", 0), (6, "falling", 1)])
    labels, falling = found["summary"]["arms"]
    assert (labels["architectures"], falling["architectures"]) == (7, 6)
    assert found["summary"]["pairs"][0]["architectures"] == 5
    assert labels["tau_seeds"] == pytest.approx(kendalltau(*values["labels"][1:].T).statistic)
    assert any("4 runs are missing" in line for line in remarks(found))


def test_what_is_too_little_is_said_and_left_out():
    rng = np.random.default_rng(4)
    one_seed = table(noisy(rng, seeds=1))["summary"]
    assert one_seed["arms"][0]["sd_seeds"] is None and one_seed["pairs"][0]["tau_arms"] is None
    assert one_seed["pairs"][0]["tau_means"] is not None and one_seed["too_few"][0].startswith("One seed: ")
    few = table(noisy(rng, num=4))["summary"]
    assert few["arms"][0]["tau_seeds"] is None and few["arms"][0]["sd_seeds"] is not None
    assert few["too_few"][0] == "labels: 4 whole architectures are too few for an order, which needs 5."
    nothing = table(noisy(rng, num=1), missing=[(0, arm, 0) for arm in ("labels", "falling")])["summary"]
    assert nothing["arms"][0]["best"] is None and len(nothing["too_few"]) == 2
    apart = table(
        noisy(rng, num=9), missing=[(i, arm, 0) for i in range(4) for arm in ("labels",)] + [(8, "falling", 0)]
    )["summary"]
    assert apart["too_few"] == [
        "labels and falling have 4 whole architectures in common, too few for an order, which needs 5."
    ]


def test_the_same_multiply_adds_have_no_order():
    found = table(noisy(np.random.default_rng(5)), macs=np.zeros(12))["summary"]["arms"][0]
    assert found["tau_multiply_adds"] is None and found["spearman_multiply_adds"] is None


def test_tables_and_remarks_say_it():
    found = table(noisy(np.random.default_rng(6)))
    (row, _), (pair,) = arms_table(found["summary"]).rows, pairs_table(found["summary"]).rows
    assert row.cells[:2] == ("labels", "12") and "–" not in row.cells
    assert pair.cells[0] == "labels, falling" and " to " in pair.cells[4]
    first, best, *_ = remarks(found)
    assert first == (
        "48 of 48 runs are in the table: 12 architectures, drawn by chance (seed 0) of 6,200 k MACs, give or take 5 %."
    )
    assert best.startswith("labels: best cell")
