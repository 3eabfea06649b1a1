"""The benchmark of person search at a size of nothing."""

import numpy as np
import pytest

from nas.bench.person_search import by_loop, drawn, evaluated, person_search

SMALL = {"height": 96, "width": 160, "identities": 20, "queries": 12, "frames": 30, "detections": 120, "dim": 8}


@pytest.mark.medium
def test_each_form_has_its_row():
    rows = person_search(**SMALL, repeats=1)
    assert list(rows) == [
        "step, ours", "step, our RoI head", "step, torchvision", "evaluation, ours", "evaluation, public loop",
    ]  # fmt: skip
    assert all(row["seconds"] > 0 for row in rows.values())
    assert rows["step, ours"]["ratio"] == rows["evaluation, ours"]["ratio"] == 1


def test_the_public_loop_finds_the_same():
    """Where the task is neither too easy nor hopeless."""
    data = drawn(40, 60, 300, 16, 25)
    assert 0.1 < evaluated(*data) < 0.9
    assert by_loop(*data) == pytest.approx(evaluated(*data), abs=1e-5)


def test_nobody_is_twice_in_a_frame():
    _, detected, true = drawn(40, 60, 300, 16, 25)
    known = true.ids >= 0
    pairs = np.stack([true.frames[known], true.ids[known]])
    assert len(np.unique(pairs, axis=1).T) == known.sum() and len(detected) == 300
