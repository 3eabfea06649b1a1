"""What the pages of studies draw: every trial and parameter once, in the order and units of the plots."""

from pathlib import Path

from nas.report.study_data import MOST_AXES, ablated, tuned


def row(number, mAP=0.5, state="complete", best=False, **params):
    return {
        "trial": number,
        "state": state,
        "best": best,
        "mAP": mAP,
        "multiply_adds": 1e6 + number,
        "parameters": 1,
        "minutes": 0.5,
        "epochs_told": None,
        "worker": "m:1",
        "why": None,
        "params": params,
        "architecture": None,
    }


def study(*rows, objectives=("mAP",), importances=None):
    return {"recipe": "de mo", "trials": rows, "objectives": objectives, "importances": importances or {}}


def test_trials_come_in_their_order_and_parameters_by_importance():
    found = tuned(study(row(3, 0.2, b=1.0, a=2.0), row(1, 0.4, b=2.0, a=2.5), importances={"a": 0.25, "b": 0.75}))
    assert [trial["number"] for trial in found["trials"]] == [1, 3]
    assert [axis["name"] for axis in found["axes"]] == ["b", "a"] and found["importances"] == [["b", 0.75], ["a", 0.25]]
    assert found["trials"][0]["params"] == {"b": 2.0, "a": 2.5} and not found["weighsCost"]


def test_an_axis_has_words_a_log_scale_or_neither_and_what_never_differs_has_none():
    rows = [row(0, word="x", wide=0.001, narrow=1.0, same=1.0), row(1, word="y", wide=1.0, narrow=2.0, same=1.0)]
    axes = {axis["name"]: axis for axis in tuned(study(*rows))["axes"]}
    assert axes["word"]["words"] == ["x", "y"] and axes["wide"]["log"] and not axes["narrow"]["log"]
    assert "same" not in axes
    many = {f"p{number}": 1.0 for number in range(20)}
    found = tuned(study(row(0, **many), row(1, **dict.fromkeys(many, 2.0))))
    assert len(found["axes"]) == MOST_AXES


def test_what_failed_takes_part_in_no_axis_and_long_values_are_cut():
    found = tuned(study(row(0, None, "failed", a=9.0, text="x" * 500), row(1, a=1.0)))
    assert found["axes"] == [] and len(found["trials"][0]["params"]["text"]) == 100


def test_the_best_have_their_commands():
    folder = Path("out/a b")
    one = tuned(study(row(4, best=True), row(1)), folder)["commands"]
    assert one == [{"name": "Trial 4", "command": "nas run 'de mo' --overrides 'out/a b/tuned.json'"}]
    both = tuned(study(row(4, best=True), row(1, best=True), objectives=("mAP", "multiply_adds")), folder)
    assert [each["command"].rpartition("/")[2] for each in both["commands"]] == [
        "tuned-trial4.json'",
        "tuned-trial1.json'",
    ]


def test_a_study_without_trials_and_an_ablation_that_is_not_over_draw_nothing():
    assert tuned(study()) is None
    assert ablated({"trials": {"done": 1, "planned": 4}}) is None


def test_arms_and_contrasts_are_in_percent_and_points():
    facts = {"mean": 0.02, "interval": [0.01, 0.03], "joint_interval": None, "p_holm": 0.04}
    arm = {"name": "a", "seeds": [1, 0], "mAP": {"mean": 0.35, "values": [0.3, 0.4]}}
    contrast = {"first": "a", "second": "b", "primary": True, "seeds": [0, 1], "mAP": facts}
    found = ablated({"arms": [arm], "contrasts": [contrast, {**contrast, "mAP": {"mean": None}}]})
    assert found["seeds"] == [0, 1] and found["arms"][0] == {
        "name": "a",
        "mean": 35.0,
        "values": {"1": 30.0, "0": 40.0},
    }
    assert found["contrasts"] == [
        {"name": "a − b", "primary": True, "pairs": 2, "mean": 2.0, "interval": [1.0, 3.0], "joint": None, "p": 0.04}
    ]
