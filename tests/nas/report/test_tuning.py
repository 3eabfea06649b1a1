"""The report of a study: what is drawn of which trials, and a page that is safe and stands alone."""

import re

import numpy as np
import pytest

from nas.report.tuning import (
    PLOTS,
    Axis,
    contour,
    finding,
    history,
    importance,
    parallel,
    pareto_front,
    write_tuning_report,
)
from nas.study.result import trial_table


def trial(number, mAP, state="complete", multiply_adds=100_000_000, architecture=None, **params):
    return {
        "trial": number,
        "state": state,
        "best": False,
        "mAP": mAP,
        "multiply_adds": multiply_adds,
        "parameters": 1,
        "minutes": 0.5,
        "epochs_told": 3,
        "worker": "m:1",
        "why": None,
        "params": params,
        "changes": {},
        "architecture": architecture,
    }


def found(rows, importances=None, objectives=("mAP",), name="study"):
    return {
        "study": name,
        "recipe": "fast_reid",
        "space": "fast_reid",
        "objectives": list(objectives),
        "held_out": 0.2,
        "importances": importances or {},
        "trials": rows,
    }


GRID = [
    trial(i, 0.3 + 0.01 * i, T=T, alpha=alpha)
    for i, (T, alpha) in enumerate((T, a) for T in (1.0, 2.0, 5.0, 10.0) for a in (0.1, 0.3, 0.5))
]
SHARES = {"alpha": 0.25, "T": 0.75}


def drawn(axes):
    """The points of all lines of an axes."""
    return [tuple(map(float, point)) for line in axes.lines for point in line.get_xydata()]


def test_the_history_and_its_best_so_far():
    axes = history([trial(2, 0.2), trial(0, 0.1), trial(1, 0.05, state="pruned"), trial(3, None, state="lost")]).axes[0]
    assert {(0.0, 10.0), (2.0, 20.0), (1.0, 5.0)} <= set(drawn(axes)) and len(drawn(axes)) == 5
    assert [text.get_text() for text in axes.get_legend().get_texts()] == ["pruned", "complete", "best so far"]


def test_importances_by_size():
    axes = importance([], SHARES | {"margin": 0.0}).axes[0]
    assert [label.get_text() for label in axes.get_yticklabels()] == ["T", "alpha", "margin"]
    assert [bar.get_width() for bar in axes.patches] == [0.75, 0.25, 0.0]


def test_the_contour_is_over_the_two_most_important():
    axes = contour(GRID, SHARES).axes[0]
    assert (axes.get_xlabel(), axes.get_ylabel()) == ("T", "alpha")
    assert [label.get_text() for label in axes.get_xticklabels()] == ["1", "2", "5", "10"]
    (star,) = drawn(axes)
    assert star == (1.0, 0.5)  # the last and best: T = 10 on a logarithmic axis


@pytest.mark.parametrize(
    "rows",
    [
        [trial(i, 0.1 * i, T=1.0 + i, alpha=0.1 + i) for i in range(4)],
        [trial(i, 0.5, T=1.0 + i % 2, alpha=0.1 * (i // 2)) for i in range(4)],
    ],
)
def test_a_contour_of_points_in_a_line_or_of_one_height_is_the_points(rows):
    (points,) = contour(rows, SHARES).axes[0].collections
    assert len(points.get_offsets()) == 4
    assert contour(GRID[:2], SHARES) is None  # one of the two never changes


def test_a_line_for_each_complete_trial():
    rows = [*GRID, trial(12, 0.9, state="pruned", T=1.0, alpha=0.1)]
    axes = parallel(rows, SHARES).axes[0]
    lines = [line.get_ydata() for line in axes.lines if len(line.get_xydata()) == 3]
    assert len(lines) == 12 and np.allclose(lines[-1], [1, 1, 1]) and np.allclose(lines[0], [0, 0, 0])
    assert [label.get_text() for label in axes.get_xticklabels()] == ["T", "alpha", "mAP (%)"]


def test_the_front_carries_its_numbers():
    rows = [trial(0, 0.5, multiply_adds=2e6), trial(1, 0.6, multiply_adds=3e6), trial(2, 0.4, multiply_adds=3e6)]
    axes = pareto_front(rows).axes[0]
    assert [text.get_text() for text in axes.texts] == ["0", "1"] and len(drawn(axes)) == 3
    assert pareto_front(GRID) is None


def test_conditional_parameters_and_those_that_never_change_are_left_out():
    rows = [trial(i, 0.1 * i, T=1.0 + i, fixed=1.0, **({"end": 0.5} if i else {})) for i in range(4)]
    axes = parallel(rows, {"T": 0.4, "fixed": 0.3, "end": 0.3}).axes[0]
    assert [label.get_text() for label in axes.get_xticklabels()] == ["T", "mAP (%)"]


@pytest.mark.parametrize(
    "values, logarithmic",
    [
        ([1.0, 2.0, 5.0, 10.0], True),
        ([0.1, 0.3, 0.5], False),
        ([1e-4, 1e-3, 1e-2], True),
        ([0.0, 1.0], False),
        ([2.0], False),
    ],
)
def test_the_scale_that_spreads_the_values(values, logarithmic):
    axis = Axis("x", values)
    assert axis.is_logarithmic == logarithmic and axis.span[0] < axis.span[1]
    assert [text for _, text in axis.ticks] == [f"{value:g}" for value in values]


def test_words_stand_in_order_and_long_ones_are_cut():
    axis = Axis("backbone.a.rather.long.name.block12", ["b" * 40, "a", "b" * 40])
    assert axis.places == [1.0, 0.0, 1.0] and axis.ticks == [(0.0, "a"), (1.0, "b" * 23 + "…")]
    assert axis.name.endswith("block12") and len(axis.name) == 24


class TestPage:
    def test_stands_alone_and_escapes(self, tmp_path):
        name = "<script>alert(1)</script>"
        content = found([*GRID, trial(12, None, "lost", **{name: name})], SHARES, name=name)
        page = write_tuning_report(tmp_path, content, trial_table(content)).read_text()
        assert "<script>" not in page and "&lt;script&gt;" in page
        assert not re.search(r'(?:src|href)="(?!#|data:)', page) and page.count("<svg") == 4
        assert {path.name for path in (tmp_path / "plots").iterdir()} == {
            f"{name}.svg" for name in PLOTS if name != "pareto"
        }

    def test_of_nothing_yet(self, tmp_path):
        content = found([trial(0, None, "running")])
        page = write_tuning_report(tmp_path, content, trial_table(content)).read_text()
        assert "No trial is complete yet." in page and "<svg" not in page

    def test_the_finding(self):
        assert finding(found(GRID)) == "Of 12 complete trials, number 11 is the most accurate: mAP 41.0."
        rows = [trial(0, 0.5) | {"best": True}, trial(1, 0.4)]
        said = finding(found(rows, objectives=("mAP", "multiply_adds")))
        assert said.endswith("and 1 are worth their multiply-adds.")


def test_an_architecture_is_one_column():
    decisions = {"backbone.block2": "k3e6", "cell.2": ["sep3@0", "max3@1"]}
    architecture = {"format": 1, "space": "ReID", "decisions": decisions}
    row = trial(
        0,
        0.5,
        architecture=architecture,
        T=2.0,
        **{"backbone.block2": "k3e6", "cell.2<0": "sep3", "cell.2<1": "max3", "cell.2.inputs": "0+1"},
    )
    table = trial_table(found([row]))
    assert table.columns == ("rank", "trial", "state", "mAP", "minutes", "T", "architecture")
    assert len(table.rows[0].cells[-1]) == 12
