"""`metrics.json` of others is named, with the field that is wrong."""

import json

import pytest

from nas.report.metrics import outdated, read_metrics
from nas.system.files import digest

ROW = {"name": "student (a)", "role": "student", "queries": "queries/student.csv", "mAP": 0.5, "own": [1]}
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


def test_a_network_that_was_trained_again_is_named(tmp_path):
    (tmp_path / "student.safetensors").write_text("old")
    measured = METRICS | {"measured": {"student.safetensors": digest(tmp_path / "student.safetensors")}}
    assert outdated(tmp_path, measured) == outdated(tmp_path, METRICS) == ""
    (tmp_path / "student.safetensors").write_text("new")
    assert "earlier student.safetensors: `nas evaluate" in outdated(tmp_path, measured)
    (tmp_path / "student.safetensors").unlink()  # results alone were copied
    assert outdated(tmp_path, measured) == ""
