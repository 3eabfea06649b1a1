"""`metrics.json` of others is named, with the field that is wrong."""

import json

import pytest

from nas.report.metrics import outdated, read_metrics, thresholds_of, verification_lines
from nas.system.files import digest

ROW = {"name": "student (a)", "role": "student", "queries": "queries/student.csv", "mAP": 0.5, "own": [1]}
VERIFIED = {
    "num_right": 50,
    "num_wrong": 2500,
    "eer": 0.111,
    "eer_threshold": 0.7,
    "points": [
        {"fpr": 0.01, "tpr": 0.5, "threshold": 0.4},
        {"fpr": 0.001, "tpr": 0.25, "threshold": 0.3},
        {"fpr": 0.0001, "tpr": None, "threshold": None},
    ],
    "roc": {"fpr": [0, 0.5, 1], "tpr": [0, 0.9, 1]},
}
METRICS = {"format": 1, "data": "a", "protocol": {}, "rows": [ROW], "cmc": {}}


def test_what_was_written_is_read(tmp_path):
    (tmp_path / "metrics.json").write_text(json.dumps(METRICS))
    assert read_metrics(tmp_path / "metrics.json") == METRICS


@pytest.mark.parametrize(
    "wrong",
    [
        *({"rows": [ROW | {"mAP": value}]} for value in ("0.5", [0.5], True, float("nan"), 10**400)),
        *({"rows": [ROW | {"role": value}]} for value in (3, ["student"])),
        *(
            {"rows": [ROW | {"verification": value}]}
            for value in (
                [1],
                {},
                VERIFIED | {"eer": None},
                VERIFIED | {"eer": "0.1"},
                VERIFIED | {"points": [1]},
                VERIFIED | {"points": [{"fpr": 0.01, "tpr": 0.5}]},
                VERIFIED | {"points": [{"fpr": 0.01, "tpr": "0.5", "threshold": 0.1}]},
                VERIFIED | {"roc": []},
                VERIFIED | {"roc": {"fpr": [0], "tpr": [0, 1]}},
                VERIFIED | {"roc": {"fpr": [None], "tpr": [0]}},
            )
        ),
        *(
            {"measured": [1]},
            {"data": ["a"]},
            {"rows": [3]},
            {"cmc": [1]},
            {"protocol": "x"},
            {"protocol": {"flip": {}}},
            {"format": 2},
        ),
    ],
    ids=str,
)
def test_another_type_of_a_field_is_named(tmp_path, wrong):
    (tmp_path / "metrics.json").write_text(json.dumps(METRICS | wrong))
    key = "row" if "rows" in wrong else next(iter(wrong))
    with pytest.raises(ValueError, match=rf"metrics\.json .*{key}"):
        read_metrics(tmp_path / "metrics.json")


def test_thresholds_are_those_that_were_measured(tmp_path):
    metrics = METRICS | {"rows": [ROW | {"role": "teacher"}, ROW | {"verification": VERIFIED}, ROW | {"rerank": {}}]}
    (tmp_path / "metrics.json").write_text(json.dumps(metrics))
    read = read_metrics(tmp_path / "metrics.json")
    assert thresholds_of(read, "student") == (((0.01, 0.4), (0.001, 0.3)), 0.7)
    assert thresholds_of(read, "teacher") == ((), None)
    assert verification_lines(read) == [
        "verification, student (a): EER 11.1 %; TPR 50.0 % at FPR 0.01, 25.0 % at FPR 0.001; "
        "2,500 wrong pairs are too few for FPR 0.0001"
    ]


def test_a_network_that_was_trained_again_is_named(tmp_path):
    (tmp_path / "student.safetensors").write_text("old")
    measured = METRICS | {"measured": {"student.safetensors": digest(tmp_path / "student.safetensors")}}
    assert outdated(tmp_path, measured) == outdated(tmp_path, METRICS) == ""
    (tmp_path / "student.safetensors").write_text("new")
    assert "earlier student.safetensors: `nas evaluate" in outdated(tmp_path, measured)
    (tmp_path / "student.safetensors").unlink()  # results alone were copied
    assert outdated(tmp_path, measured) == ""
