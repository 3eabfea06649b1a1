"""Plots of several runs: what they show, and what they refuse."""

import xml.etree.ElementTree as ET

import numpy as np
import pytest

from nas.report.run_plots import curves, dead_share, weight_histograms
from nas.report.style import svg

RNG = np.random.default_rng(0)
DEAD = {"conv2": np.array([0.0, 5e-4, 0.1, -0.2]), "conv3": np.array([-9e-4, 0.3, 2e-3, 0.1])}
ALIVE = {name: RNG.normal(size=1000) for name in DEAD}


def text(figure):
    return " ".join(ET.fromstring(svg(figure)).itertext())


def test_dead_weights_are_counted_over_all_stages():
    assert dead_share(DEAD) == 3 / 8


def test_a_panel_for_each_stage_and_a_line_for_each_network():
    figure = weight_histograms({"alone": DEAD, "_KSL": ALIVE})
    shown = [axes for axes in figure.axes if axes.get_visible()]
    assert [axes.get_title(loc="left") for axes in shown] == ["conv2", "conv3"]
    assert all(len(axes.patches) == 2 for axes in shown)
    assert "alone (37.5 % dead)" in text(figure) and "_KSL (" in text(figure)


def test_a_histogram_is_a_density():
    stairs = weight_histograms({"alone": ALIVE}).axes[0].patches[0]
    values, edges, _ = stairs.get_data()
    assert 0.99 <= (values * np.diff(edges)).sum() <= 1.0


def test_panels_that_are_left_over_are_hidden():
    figure = weight_histograms({"alone": {f"stage{i}": RNG.normal(size=10) for i in range(5)}})
    assert len(figure.axes) == 8 and sum(axes.get_visible() for axes in figure.axes) == 5


def test_networks_of_other_stages_are_refused():
    with pytest.raises(ValueError, match="KSL has conv2, not conv2, conv3"):
        weight_histograms({"alone": DEAD, "KSL": {"conv2": np.ones(3)}})


def test_curves_go_through_means_and_show_extremes():
    figure = curves({"AUX": {0.5: [30.0, 40.0], 0.0: [10.0]}}, "share of wrong labels", "error (%)")
    line, _, (bars,) = figure.axes[0].containers[0]
    assert line.get_xydata().tolist() == [[0.0, 10.0], [0.5, 35.0]]
    assert [segment[:, 1].tolist() for segment in bars.get_segments()] == [[10.0, 10.0], [30.0, 40.0]]
    assert "AUX" in text(figure) and "share of wrong labels" in text(figure)
