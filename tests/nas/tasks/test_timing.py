"""The times of a table's row, and what is said of them."""

import pytest
from torch import nn

from nas.report.timing import conditions_line
from nas.tasks.timing import timed
from search_spaces.cost.latency import Eager

NET = nn.Sequential(nn.Conv2d(3, 2, 3), nn.AdaptiveAvgPool2d(1), nn.Flatten())


class Nowhere(Eager):
    def prepare(self, net, images):
        raise ValueError("no such operation")


def test_a_row_has_times_and_what_they_hold_for():
    row = timed(NET, "student", 32, 16, Eager(), ((1, 0, 3), (4, 1, 2)))
    timing = row["timing"]
    assert row["ms_per_image_1"] == timing["batches"]["1"]["median"] and row["ms_per_image_4"] > 0
    assert timing["height"] == 32 and timing["precision"] == "fp32" and set(timing["batches"]) == {"1", "4"}
    assert conditions_line([row]).endswith(
        f"{timing['device']}, {timing['threads']} thread{'s' * (timing['threads'] > 1)}, fp32, 32x16."
    )


def test_a_network_that_cannot_run_has_no_times_and_it_is_said():
    with pytest.warns(UserWarning, match="student has no milliseconds: no such operation. --evaluation.runtime torch"):
        assert timed(NET, "student", 32, 16, Nowhere(), ((1, 0, 1),)) == {}


def test_times_of_different_kinds_are_told_apart():
    new, old = {"ms_per_image_1": 1.0, "timing": {"runtime": "ONNX Runtime 1"}}, {"ms_per_image_1": 14.0}
    assert conditions_line([new, new]) == "Milliseconds are medians for an image: ONNX Runtime 1."
    assert "not all alike, compare them with care: ONNX Runtime 1; or torch, eager" in conditions_line([new, old])
    assert conditions_line([{"mAP": 0.5, "ms_per_image_1": None}]) == ""
