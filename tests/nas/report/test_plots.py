"""The curves: SVG that names what it shows, whatever the numbers are."""

import math
import re
import xml.etree.ElementTree as ET

import pytest

from nas.metrics.front import front
from nas.report import plots, search_data

HOSTILE = "<script>$x^{</script>&_\N{CJK UNIFIED IDEOGRAPH-4EBA}"


def text(svg):
    return " ".join(ET.fromstring(svg).itertext())


def search(num_epochs, value=lambda epoch: 0.5):
    return [
        {
            "epoch": epoch,
            "temperature": 2.0,
            "weight": {"total": value(epoch)},
            "alpha": {"total": value(epoch)},
            "health": {"entropy": value(epoch), "skip_share": 0.1},
            "alphas": {"b.normal.2<0": {"sep3": value(epoch), "none": 0.5}, "b.reduce.10<1": {"my_op": 1.0}},
        }
        for epoch in range(num_epochs)
    ]


@pytest.mark.parametrize("num_epochs", [1, 2, 30])
def test_alphas_have_a_grid_for_each_kind_of_cell(num_epochs):
    grids = plots.alphas(search(num_epochs))
    assert set(grids) == {"b.normal", "b.reduce"}
    normal, reduce = text(grids["b.normal"]), text(grids["b.reduce"])
    assert "0 → 2" in normal and "sep conv 3x3" in normal and "none" in normal
    assert "1 → 10" in reduce and "my_op" in reduce and "sep conv" not in reduce


def test_edges_stand_in_numerical_order():
    edges = {f"normal.{node}<{state}": {"skip": 1.0} for node, state in [(10, 2), (2, 1), (2, 0)]}
    shown = text(plots.alphas([{"epoch": 0, "alphas": edges}])["normal"])
    assert shown.index("0 → 2") < shown.index("1 → 2") < shown.index("2 → 10")


def test_decisions_outside_cells_share_a_grid():
    decisions = {"block3.op": {"k3e6": 0.4, "k5e6": 0.6}, "a" * 80: {"32": 1.0}, "normal.x<0": {"skip": 1.0}}
    grids = plots.alphas([{"epoch": 0, "alphas": decisions | {"normal.2<0": {"skip": 1.0}}}])
    assert set(grids) == {plots.OTHER, "normal"}
    assert all(word in text(grids[plots.OTHER]) for word in ("block3.op", "k5e6", "…aaa", "normal.x<0"))


@pytest.mark.medium
@pytest.mark.parametrize("num_epochs", [1, 30])
def test_training_names_its_curves(num_epochs):
    shown = text(plots.training(search(num_epochs)))
    assert all(title in shown for title in ("loss of the weights", "loss of the alphas", "temperature", "total"))
    assert "mAP" not in shown
    shown = text(plots.health(search(num_epochs)))
    assert "entropy" in shown and "skip share" in shown


def test_map_is_shown_in_percent_where_it_was_validated():
    history = [{"epoch": epoch, "temperature": None, "loss": {"total": 1.0}} for epoch in range(3)]
    history[1]["mAP"] = 0.31
    shown = text(plots.training(history))
    assert "mAP (%)" in shown and "temperature" not in shown and "31" in shown


@pytest.mark.medium
def test_what_is_no_number_is_a_gap():
    gaps = [math.nan, math.inf, -math.inf, 1e300, 10**400, "high", True, [1]]
    wild, without = search(len(gaps) + 2), search(len(gaps) + 2)
    for epoch, gap in enumerate(gaps, start=1):
        wild[epoch]["temperature"], without[epoch]["temperature"] = gap, None
    assert plots.training(wild) == plots.training(without)
    assert plots.training([{"epoch": 0, "loss": {"total": gap}, "temperature": gap} for gap in gaps]) == ""
    assert "sep conv" not in text(plots.alphas(search(2, lambda epoch: gaps[epoch]))["b.normal"])


def test_names_are_shown_as_they_are():
    curves = {HOSTILE: [0.5, 0.6], "_hidden": [0.4, math.nan]}
    svg = plots.cmc(curves)
    assert HOSTILE in text(svg) and "_hidden" in text(svg) and "<script" not in svg


@pytest.mark.parametrize(
    ("num_gallery", "ranks"), [(1, ["1"]), (4, ["1", "2", "3", "4"]), (29, ["1", "5", "10", "15", "20", "25"])]
)
def test_a_cmc_ends_with_the_gallery_and_begins_with_the_first_rank(num_gallery, ranks):
    words = plots.cmc({"network": [1.0] * 50}, num_gallery)
    shown = [word for word in re.findall(r">(\d+)</text>", words) if int(word) <= 50]
    assert shown == ranks


def test_one_epoch_is_a_whole_number():
    shown = re.findall(r">([^<]+)</text>", plots.training([{"epoch": 7, "loss": {"total": 1.0}}]))
    assert shown[0] == "7" and "epoch" in shown[1]


def test_nothing_to_draw_is_no_picture():
    assert plots.alphas([]) == {}
    assert plots.training([]) == plots.health([]) == plots.cmc({}) == plots.measures([]) == plots.trials([]) == ""


@pytest.mark.medium
def test_the_same_data_give_the_same_bytes():
    assert plots.training(search(3)) == plots.training(search(3))
    assert plots.trials(tried(0.2, 0.5)) == plots.trials(tried(0.2, 0.5))


def steered(num_epochs):
    return [
        {
            "epoch": epoch,
            "eigenvalue": 0.1 * epoch,
            "tau": 10.0 - epoch,
            "multiply_adds": {"expected": 2e7 - 1e6 * epoch, "predicted": 1e7},
            "latency_ms": {"expected": 9.0 - epoch, "predicted": 7.5},
        }
        for epoch in range(num_epochs)
    ]


def test_what_a_search_weighs_further_has_a_panel():
    numbers = [(0.1, 1e6, 0.5), (0.3, 3e6, 0.6), (0.2, 3e6, 0.9), (0.1, 4e6, 0.4)]
    history = [
        {"score": score, "best": score, "cost": cost, "further": {"detection_AP": share}}
        for score, cost, share in numbers
    ]
    drawn = plots.trials(history, "mAP", "multiply_adds")
    assert "detection AP (%)" in drawn and "mAP (%)" in drawn
    plain = plots.trials([{**line, "further": {}} for line in history], "mAP", "multiply_adds")
    assert "detection AP" not in plain
    data = search_data.tried(history, {"value": "mAP", "cost": "multiply_adds"})
    assert data["further"] == [{"key": "detection_AP", "name": "detection AP"}]
    assert [trial["further"] for trial in data["trials"]] == [line["further"] for line in history]


@pytest.mark.medium
@pytest.mark.parametrize("num_epochs", [1, 30])
def test_measures_are_those_that_the_search_had(num_epochs):
    shown = text(plots.measures(steered(num_epochs)))
    for word in ("MACs (M)", "ms per image", "eigenvalue", "tau", "expected", "predicted"):
        assert word in shown
    shown = text(plots.measures([{"epoch": 0, "tau": 10.0}]))
    assert "tau" in shown and "eigenvalue" not in shown and "expected" not in shown


def tried(*scores, **others):
    return [
        {"epoch": epoch, "score": score, "cost": 1e7 * (epoch + 1), "best": max(scores[: epoch + 1]), **others}
        for epoch, score in enumerate(scores)
    ]


@pytest.mark.medium
def test_trials_say_what_scores_and_costs_are():
    shown = text(plots.trials(tried(0.2, 0.5, 0.4), "mAP", "multiply_adds"))
    assert all(word in shown for word in ("best so far", "front", "mAP (%)", "MACs (M)", "trial"))
    shown = text(plots.trials(tried(0.2, 0.5, 0.4)))
    assert "score" in shown and "cost" in shown and "mAP" not in shown
    assert "front" not in text(plots.trials([{"epoch": 0, "score": 0.2}]))


def test_epochs_that_try_nothing_are_no_trials():
    trials = tried(0.2, 0.5)
    assert plots.trials(
        [{"epoch": 0, "weight": {"total": 1.0}}, *trials, {"epoch": 9, "score": math.nan}]
    ) == plots.trials(trials)


def test_a_trial_that_was_stopped_early_is_not_on_the_front(monkeypatch):
    fronts = []
    monkeypatch.setattr(plots, "front", lambda *points: fronts.append(points) or front(*points))
    plots.trials([*tried(0.2, 0.5), *tried(0.9, pruned=True)], "mAP", "multiply_adds")
    ((costs, scores),) = fronts
    assert list(costs) == [10, 20] and list(scores) == [20, 50]
