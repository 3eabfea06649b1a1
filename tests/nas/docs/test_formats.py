"""The page on file formats names the keys that are written, and no others."""

import json
import re
from pathlib import Path

import onnx
import pytest
from safetensors import safe_open

from nas.models.card import KEY
from tests.nas.cli.program import nas
from tests.nas.docs.shown import MANUAL

ROW = re.compile(r"^\| (`[^|]*`) \|", re.MULTILINE)
TOY = (
    "run toy --space.backbone.cells 1 --space.backbone.reductions 1 --teacher.net.backbone.width 0.0625 --baseline None"
)


def named(heading: str, after: str = "") -> set[str]:
    """The keys in the first table of a section, or in the first one behind the text `after`."""
    section = re.split(
        r"^## ", (MANUAL / "formats.md").read_text().partition(f"\n## {heading}\n")[2], flags=re.MULTILINE
    )[0]
    table = section.partition(after)[2].strip().partition("\n\n") if after else None
    text = table[0] if table else section[section.index("| ") :].partition("\n\n")[0]
    return {key for cell in ROW.findall(text) for key in re.findall(r"`(\w+)`", cell)}


@pytest.fixture(scope="module")
def toy(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("toy")
    assert nas(*TOY.split(), "--teacher.training.epochs", "1", "--out", folder, "--json") == 0
    return folder


def read(path: Path) -> dict:
    return json.loads(path.read_text())


@pytest.mark.medium
def test_the_keys_of_a_run_are_those_of_the_page(toy):
    assert set(read(toy / "config.json")) == named("config.json")
    assert set(read(toy / "environment.json")) == named("environment.json")
    assert set(read(toy / "architecture.json")) == named("architecture.json") - {"changes"}
    found = read(toy / "architectures.json")
    assert set(found) == named("architectures.json")
    assert set(found["ranked"][0]) == named("architectures.json", "An entry of `ranked` and `front`:") - {"further"}


@pytest.mark.medium
def test_the_keys_of_an_evaluation_are_those_of_the_page(toy):
    metrics = read(toy / "metrics.json")
    assert set(metrics) == named("metrics.json") - {"subject"}
    assert set(metrics["protocol"]) == named("metrics.json", "`protocol` for crops:")
    verified = metrics["rows"][-1]["verification"]
    assert set(verified) == named("metrics.json", "It is missing if there are no right or no wrong pairs.")
    assert set(verified["points"][0]) == {"fpr", "tpr", "threshold"} and set(verified["roc"]) == {"fpr", "tpr"}
    row = named("metrics.json", "A row for crops:")
    assert set(metrics["rows"][-1]) == row - {"mAP_sd", "rank1_sd", "repeats", "rerank"}
    header = (toy / metrics["rows"][-1]["queries"]).read_text().splitlines()[0].split(",")
    assert {name for name in header if not re.match("found([2-9]|10)_", name)} == named("queries/ROLE.csv")


@pytest.mark.medium
def test_the_keys_of_an_export_are_those_of_the_page(toy):
    assert nas("export", toy, "--precision", "int8", "--calibration", "4", "--tolerance", "100", "--json") == 0
    said = read(toy / "student-int8.onnx.json")
    assert set(said) == named("Exported files")
    (row,) = re.findall(r"^\| `rows` \|.*$", (MANUAL / "formats.md").read_text(), re.MULTILINE)[-1:]
    assert {key for each in said["rows"] for key in each} == set(re.findall(r"`(\w+)`", row)) - {"rows"}
    card = {each.key: each.value for each in onnx.load(toy / "student-int8.onnx").metadata_props}[KEY]
    assert set(json.loads(card)) - {"kind"} == named("Weights and features", "A card:")


@pytest.mark.medium
def test_the_keys_of_a_card_are_those_of_the_page(toy):
    with safe_open(toy / "student.safetensors", "pt") as file:
        header = json.loads(file.metadata()["nas"])
    assert set(header["card"]) - {"kind"} == named("Weights and features", "A card:")


@pytest.mark.medium
def test_the_keys_of_histories_are_among_those_of_the_page(toy):
    for stage in ("teach", "search", "retrain"):
        for line in (toy / f"{stage}.history.jsonl").read_text().splitlines():
            assert set(json.loads(line)) <= named("history.jsonl")
