"""The report of a study: what is drawn of which trials, and a page that is safe and stands alone."""

import re
import warnings

import matplotlib
import numpy as np
import pytest
from matplotlib import pyplot
from optuna import Study, create_study
from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution
from optuna.trial import TrialState, create_trial

from nas.report.style import svg
from nas.report.tuning import PLOTS, draw, finding, most_important, write_tuning_report
from nas.study.result import ranked, trial_table

TEMPERATURE = FloatDistribution(1.0, 10.0, log=True)


def distribution(name, value) -> BaseDistribution:
    if not isinstance(value, float):
        return CategoricalDistribution((value, "other"))
    return TEMPERATURE if name == "T" else FloatDistribution(0.0, 20.0)


def trial(mAP, state="complete", multiply_adds=100e6, architecture=None, **params):
    """A trial as `nas tune` leaves it."""
    notes = {"worker": "m:1", "architecture": architecture}
    if state in ("complete", "pruned"):
        notes["score"] = {"mAP": mAP, "multiply_adds": multiply_adds, "parameters": 1, "minutes": 0.5}
    return create_trial(
        state=TrialState[state.upper()],
        value=mAP if state == "complete" else None,
        params=params,
        distributions={name: distribution(name, value) for name, value in params.items()},
        user_attrs=notes,
    )


def study_of(*trials) -> Study:
    study = create_study(direction="maximize")
    study.add_trials(trials)
    return study


def found(study, importances=None, objectives=("mAP",), name="study"):
    return {
        "study": name,
        "recipe": "fast_reid",
        "space": "fast_reid",
        "objectives": list(objectives),
        "held_out": 0.2,
        "importances": importances or {},
        "trials": ranked(study),
    }


GRID = [
    trial(0.3 + 0.01 * i, T=T, alpha=alpha)
    for i, (T, alpha) in enumerate((T, a) for T in (1.0, 2.0, 5.0, 10.0) for a in (0.1, 0.3, 0.5))
]
SHARES = {"alpha": 0.25, "T": 0.75}


def axes_of(plot, *trials, importances=SHARES):
    return draw(study_of(*trials), importances)[plot].axes[0]


def words(labels):
    return [label.get_text() for label in labels]


def test_the_history_and_its_best_so_far():
    trials = [trial(0.1), trial(0.05, "pruned"), trial(0.2), trial(0.15), trial(None, "fail"), trial(None, "running")]
    axes = axes_of("history", *trials)
    by_name = {points.get_label(): points.get_offsets().tolist() for points in axes.collections}
    assert np.allclose(by_name["complete"], [(0, 10), (2, 20), (3, 15)]) and np.allclose(by_name["pruned"], [(1, 5)])
    np.testing.assert_allclose(axes.lines[0].get_ydata(), [10, 10, 20, 20, 20, 20])  # to the last of the trials
    assert words(axes.get_legend().get_texts()) == ["complete", "best so far", "pruned"]


@pytest.mark.medium
def test_importances_by_size():
    axes = axes_of("importances", *GRID)
    assert words(axes.get_yticklabels()) == ["alpha", "T"] and axes.get_ylim() == (-0.5, 1.5)
    small, large = (bar.get_width() for bar in axes.patches)
    assert 0 < small < large and small + large == pytest.approx(1)


def test_only_the_most_important_of_many_are_drawn():
    rng = np.random.default_rng(0)
    trials = [trial(float(rng.random()), **{f"p{n}": float(rng.random()) for n in range(14)}) for _ in range(20)]
    figures = draw(study_of(*trials), {f"p{n}": n / 91 for n in range(14)})
    low, high = figures["importances"].axes[0].get_ylim()
    assert (low, high) == (3.5, 13.5)
    expected = ["mAP (%)", *sorted(f"p{n}" for n in range(4, 14))]
    assert words(figures["parallel"].axes[0].get_xticklabels()) == expected


def test_the_contour_is_over_the_two_most_important():
    axes = axes_of("contour", *(trial(t.value, **t.params, other=0.1 + t.value) for t in GRID))
    assert (axes.get_xlabel(), axes.get_ylabel()) == ("T", "alpha") and axes.get_xscale() == "log"
    assert axes.lines[0].get_xydata().tolist() == [[10.0, 0.5]]  # the last and best
    assert len(axes.collections[2].get_offsets()) == 12
    axes.figure.draw_without_rendering()
    assert {"1", "2", "5", "10"} <= set(words(axes.get_xticklabels()))


def test_the_contour_finds_the_best_among_words():
    trials = [trial(0.1 * (i + j), word="abc"[i], number=float(j)) for i in range(3) for j in range(3)]
    axes = axes_of("contour", *trials, importances={"word": 0.7, "number": 0.3})
    assert (axes.get_xlabel(), axes.get_ylabel()) == ("number", "word") and words(axes.get_yticklabels()) == [*"abc"]
    assert axes.lines[0].get_xydata().tolist() == [[2.0, 2.0]]


def test_no_contour_of_one_parameter_or_of_one_height():
    assert "contour" not in draw(study_of(*GRID[:2]), SHARES), "one of the two never changes"
    assert "contour" not in draw(study_of(*(trial(0.5, T=t, alpha=a) for t in (1.0, 2.0) for a in (0.1, 0.2))), SHARES)
    line = study_of(*(trial(0.1 * i, T=1.0 + i, alpha=0.1 + i) for i in range(4)))
    assert len(draw(line, SHARES)["contour"].axes[0].collections[2].get_offsets()) == 4


def test_a_line_for_each_complete_trial():
    axes = axes_of("parallel", *GRID, trial(0.9, "pruned", T=1.0, alpha=0.1))
    lines = axes.collections[0].get_segments()
    heights = [(line[:, 1] - 30) / 11 for line in lines]
    assert len(lines) == 12 and np.allclose(heights[-1], 1) and np.allclose(heights[0], 0)
    assert words(axes.get_xticklabels()) == ["mAP (%)", "T", "alpha"]


def test_a_long_name_keeps_its_end():
    trials = [trial(0.1 * i, **{"backbone.a.rather.long.name.block12": float(i)}) for i in range(3)]
    _, name = words(axes_of("parallel", *trials, importances={next(iter(trials[0].params)): 1.0}).get_xticklabels())
    assert name.endswith("block12") and len(name) == 24


def test_the_front_carries_its_numbers():
    trials = [trial(None, "fail"), trial(0.5, multiply_adds=2e6), trial(0.6, multiply_adds=3e6)]
    axes = axes_of("pareto", *trials, trial(0.4, multiply_adds=3e6))
    assert words(axes.texts) == ["1", "2"] and np.allclose(axes.lines[0].get_xydata(), [(2, 50), (3, 60)])
    assert axes.collections[0].get_offsets().tolist() == [[3, 40]]
    assert "pareto" not in draw(study_of(*GRID), SHARES)


def test_what_never_changes_is_no_parameter_and_what_only_some_have_is_one():
    trials = [trial(0.1 * i, T=1.0 + i, fixed=1.0, **({"end": 0.5} if i else {})) for i in range(4)]
    assert most_important(study_of(*trials), {"end": 0.1, "T": 0.4, "fixed": 0.5}) == ["T", "end"]


@pytest.mark.medium
def test_drawing_leaves_matplotlib_as_it_was():
    before, sheet = dict(matplotlib.rcParams), dict(matplotlib.style.library["ggplot"])
    figures = draw(study_of(*GRID), SHARES)
    assert dict(matplotlib.rcParams) == before and dict(matplotlib.style.library["ggplot"]) == sheet
    assert not pyplot.get_fignums()
    again = draw(study_of(*GRID), SHARES)
    assert {name: svg(figure) for name, figure in figures.items()} == {
        name: svg(figure) for name, figure in again.items()
    }
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        draw(study_of(*GRID), SHARES)
    assert not said


def of_its_own(page: str) -> str:
    """A page without its script."""
    return page.partition('<script type="application/json"')[0]


def without_script(page: str) -> str:
    """What a browser shows that runs no script."""
    return page.partition("<noscript>")[2].partition("</noscript>")[0]


class TestPage:
    @pytest.mark.medium
    def test_stands_alone_and_escapes(self, tmp_path):
        name = "<script>alert(1)</script>"
        study = study_of(*(trial(t.value, **t.params, **{name: f"{name}{i % 2}"}) for i, t in enumerate(GRID)))
        content = found(study, SHARES | {name: 0.9}, name=name)
        page = write_tuning_report(tmp_path, content, trial_table(content), study).read_text()
        assert name not in page and "&lt;script&gt;" in page
        assert not re.search(r'(?:src|href)="(?!#|data:)', of_its_own(page)) and without_script(page).count("<svg") == 4
        assert {path.name for path in (tmp_path / "plots").iterdir()} == {
            f"{name}.svg" for name in PLOTS if name != "pareto"
        }

    def test_of_nothing_yet(self, tmp_path):
        study = study_of(trial(None, "running"))
        content = found(study)
        page = write_tuning_report(tmp_path, content, trial_table(content), study).read_text()
        assert "No trial is complete yet." in page and "<svg" not in without_script(page)

    def test_of_one_trial(self, tmp_path):
        study = study_of(trial(0.5, T=2.0))
        content = found(study)
        page = write_tuning_report(tmp_path, content, trial_table(content), study).read_text()
        assert without_script(page).count("<svg") == 1

    def test_the_finding(self):
        assert finding(found(study_of(*GRID))) == "Of 12 complete trials, number 11 is the most accurate: mAP 41.0."
        said = finding(found(study_of(trial(0.5), trial(0.4)), objectives=("mAP", "multiply_adds")))
        assert said.endswith("and 1 are worth their MACs.")


def test_an_architecture_is_one_column():
    decisions = {"backbone.block2": "k3e6", "cell.2": ["sep3@0", "max3@1"]}
    architecture = {"format": 1, "space": "ReID", "decisions": decisions}
    params = {"backbone.block2": "k3e6", "cell.2<0": "sep3", "cell.2<1": "max3", "cell.2.inputs": "0+1"}
    table = trial_table(found(study_of(trial(0.5, architecture=architecture, T=2.0, **params))))
    assert table.columns == ("rank", "trial", "state", "mAP", "minutes", "T", "architecture")
    assert len(table.rows[0].cells[-1]) == 12
