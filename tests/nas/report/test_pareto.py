"""The front against a loop over all pairs; a legend that can be read."""

import math
import xml.etree.ElementTree as ET
from itertools import pairwise

import numpy as np
import pytest

from nas.metrics.front import front
from nas.report.pareto import cost_data, pareto
from nas.report.style import PAPER, png, svg

HOSTILE = "<script>$x^{</script>&_"


def rows(num, seed=0):
    rng = np.random.default_rng(seed)
    return [
        {
            "name": f"network number {i}",
            "mAP": share,
            "multiply_adds": cost,
            "ms_per_image_1": cost / 1e8,
            "intervals": {"mAP": {"identities": [share - 0.02, share + 0.01]}},
        }
        for i, (share, cost) in enumerate(zip(rng.random(num), 10 ** rng.uniform(8, 10, num), strict=True))
    ]


def legend_names(figure):
    return [text.get_text() for text in figure.legends[0].get_texts()]


def names(figure):
    return " ".join(ET.fromstring(svg(figure)).itertext())


@pytest.mark.parametrize("seed", range(6))
def test_front_is_the_naive_one(seed):
    rng = np.random.default_rng(seed)
    points = rng.integers(6, size=(12, 2))  # with ties and doubles
    beaten = [any(a <= x and b >= y and (a < x or b > y) for a, b in points) for x, y in points]
    assert front(*points.T).tolist() == [not each for each in beaten]


@pytest.mark.parametrize("num", [1, 2, 6, 40])
def test_the_legend_names_each_network_once_beside_the_plot(num):
    figure = pareto(rows(num))
    figure.draw_without_rendering()
    (legend,) = figure.legends
    shares = {row["name"]: row["mAP"] for row in rows(num)}
    assert legend_names(figure) == sorted(shares, key=lambda name: -shares[name])
    assert len({(line.get_marker(), line.get_color()) for line in legend.get_lines()}) == num
    box = legend.get_window_extent()
    assert not any(box.overlaps(axes.get_tightbbox()) for axes in figure.axes)
    assert figure.bbox.containsx(box.x0) and figure.bbox.containsx(box.x1)
    assert figure.bbox.containsy(box.y0) and figure.bbox.containsy(box.y1)


def test_a_network_looks_the_same_in_the_legend_and_in_each_plot():
    figure = pareto(rows(3))
    for line in figure.legends[0].get_lines():
        look = line.get_marker(), line.get_color()
        assert all(look in [(each.get_marker(), each.get_color()) for each in axes.lines] for axes in figure.axes)


def test_points_on_the_front_are_connected_and_filled():
    data = [
        {"name": name, "mAP": share, "multiply_adds": cost}
        for name, share, cost in (("b", 0.6, 2e9), ("a", 0.5, 1e9), ("c", 0.55, 3e9))
    ]
    (axes,) = pareto(data).axes
    line, *markers = axes.lines
    np.testing.assert_allclose(line.get_xydata(), [[1000, 50], [2000, 60]])
    assert [marker.get_markerfacecolor() == PAPER for marker in markers] == [False, False, True]


def test_a_cost_that_is_unknown_leaves_a_row_out_of_that_panel():
    data = rows(3)
    data[0]["multiply_adds"] = None
    data[1]["multiply_adds"], data[1]["ms_per_image_1"] = 0, math.nan
    data[2]["mAP"] = None
    figure = pareto(data)
    (axes,) = figure.axes
    assert axes.get_xlabel() == "ms per image, batch 1\ntorch" and legend_names(figure) == ["network number 0"]
    assert pareto(data[1:]) is None and pareto([]) is None


def test_names_are_shown_as_they_are_and_long_ones_cut():
    data = rows(2)
    data[0]["name"], data[1]["name"] = HOSTILE, "n" * 120
    assert HOSTILE in names(pareto(data)) and "nnn…" in names(pareto(data)) and "<script" not in svg(pareto(data))


def test_names_that_begin_alike_stay_different():
    data = rows(2)
    data[0]["name"], data[1]["name"] = (
        f"student (8 kdas cells, C=32), {end}" for end in ("retrained", "from the search")
    )
    assert len(set(legend_names(pareto(data)))) == 2


@pytest.mark.medium
@pytest.mark.parametrize("costs", [[5e6], [1e8, 1.01e8], [1e7, 2e7, 9e7], [1e3, 1e12]])
@pytest.mark.parametrize("mAP", [0.0, 0.5, 1.0])
def test_ticks_are_apart_inside_and_no_percentage_is_above_100(costs, mAP):
    figure = pareto([{"name": str(cost), "mAP": mAP, "multiply_adds": cost} for cost in costs])
    figure.draw_without_rendering()
    (axes,) = figure.axes
    left, right = axes.get_xlim()
    ticks = [
        tick.label1.get_window_extent() for tick in axes.xaxis.get_major_ticks() if left <= tick.get_loc() <= right
    ]
    assert ticks and all(one.x1 < other.x0 for one, other in pairwise(ticks))
    low, high = axes.get_ylim()
    shown = [place for place in axes.get_yticks() if low <= place <= high]
    assert min(shown) >= 0 and max(shown) <= 100 and low <= 100 * mAP <= high


def test_the_same_data_give_the_same_bytes():
    assert svg(pareto(rows(3))) == svg(pareto(rows(3)))
    assert png(pareto(rows(2))) == png(pareto(rows(2)))


def test_the_script_is_told_what_the_picture_shows():
    shown = rows(5)
    for plot, axes in zip(cost_data(shown), pareto(shown).axes, strict=True):
        drawn = [line for line in axes.lines if line.get_markersize() == 7]
        for point, row, line in zip(plot["points"], shown, drawn, strict=True):
            assert (point["cost"], point["mAP"]) == pytest.approx((line.get_xdata()[0], line.get_ydata()[0]), rel=1e-3)
            assert point["name"] == row["name"] and point["front"] == (line.get_markerfacecolor() != PAPER)
            assert point["interval"] == pytest.approx([100 * (row["mAP"] - 0.02), 100 * (row["mAP"] + 0.01)], rel=1e-3)
    assert [plot["title"] for plot in cost_data(shown)] == ["MACs (M)", "ms per image, batch 1, torch"]


def test_what_has_no_cost_or_no_accuracy_is_in_no_plot():
    lacking = [{"name": "a", "mAP": 0.5}, {"name": "b", "multiply_adds": 1e6}, {"name": "c", "mAP": math.nan}]
    assert cost_data(lacking) == [] and pareto(lacking) is None
    [plot] = cost_data([*lacking, {"name": "d", "mAP": 0.5, "multiply_adds": 2e6}])
    assert [(point["name"], point["place"], point["cost"]) for point in plot["points"]] == [("d", 3, 2.0)]
