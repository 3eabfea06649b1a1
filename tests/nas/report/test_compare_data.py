"""What the page of a comparison says and draws."""

from nas.report.compare_data import colours, losses, sentences, settings
from nas.report.style import SERIES_COLOURS


def difference(value, low, high):
    ends = {"queries": [low, high], "identities": [low, high]}
    zero = dict.fromkeys(ends, low > 0 or high < 0)
    return {"value": value, **ends, "excludes_zero": zero}


def compared(mAP, rank1):
    return {"rows": [{"name": "a"}, {"name": "b", "difference": {"mAP": mAP, "rank1": rank1}}]}


def test_differences_are_told_in_words():
    one, two = sentences(compared(difference(-0.021, -0.03, -0.01), difference(0.004, -0.01, 0.02)))
    assert one.startswith("b has 2.1 points less mAP than a. ") and "between -3.0 and -1.0" in one
    assert one.endswith("which of the two is better does not hang on who was asked for.")
    assert two.startswith("b has 0.4 points more rank-1 than a. ")
    assert two.endswith("these queries do not tell which of the two is better.")
    same = sentences(compared(difference(0.0, 0.0, 0.0), difference(0.0, -0.1, 0.1)))[0]
    assert same == "b has the same mAP as a. No choice of these persons changes that."


def test_networks_have_the_colours_of_their_roles_and_no_two_the_same():
    roles = ["student", "teacher", "student", "baseline", "student"]
    found = colours([{"role": role} for role in roles])
    assert [found[1], found[3], found[0]] == list(SERIES_COLOURS[:3])
    assert len(set(found)) == len(roles)
    assert len(colours([{"role": "student"}] * 20)) == 20


def test_only_settings_that_differ_are_listed():
    one = {"seed": 0, "data": {"kind": "A", "root": "x"}, "long": "y" * 500}
    found = settings({"a": one, "b": {**one, "seed": 1, "data": {"kind": "A"}}, "other": None})
    assert found["columns"] == ["field", "a", "b", "other"]
    assert found["rows"] == [["seed", "0", "1", "–"], ["data.root", "x", "–", "–"]]
    assert settings({"a": one, "b": one})["rows"] == []


def test_losses_lie_over_each_other():
    history = [{"epoch": 0, "loss": {"total": 2.0, "part": 1.0}}, {"epoch": 1, "loss": {"total": 1.0}, "mAP": 0.25}]
    loss, mAP = losses({"a": history, "b": [], "c": history[:1]}, "Retraining")
    assert [(each["name"], each["x"], each["y"]) for each in loss["series"]] == [
        ("a", [0, 1], [2.0, 1.0]),
        ("c", [0], [2.0]),
    ]
    assert mAP["series"][0]["y"] == [25.0] and losses({"a": []}, "Search") == []
