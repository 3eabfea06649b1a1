"""The bench of loading at a toy's size: synthetic images become files, files are taken as they lie."""

import json
from pathlib import Path

import pytest
from PIL import Image

from nas.bench import BENCHES
from nas.cli.main import main

SIZE = {"height": 32, "width": 16, "batch": 2, "images": 5, "threads": 2, "repeats": 1}
ROWS = {"bare decode", "bare decode, 2 threads", "filling the memory", "batches from memory", "batches from files"}


def test_the_command_prints_its_rows(capsys: pytest.CaptureFixture):
    assert (
        main(
            ["bench", "loader", *(str(word) for name, value in SIZE.items() for word in (f"--{name}", value)), "--json"]
        )
        == 0
    )
    rows = json.loads(capsys.readouterr().out)
    assert set(rows) == ROWS and rows["bare decode"]["ratio"] == 1
    assert all(set(row) == {"images_per_second", "spread", "ratio"} and row["ratio"] > 0 for row in rows.values())


def test_files_are_those_of_the_data_set(tmp_path: Path):
    lines = ["path,identity,split"]
    for number, split in enumerate(("train", "train", "train", "query", "gallery")):
        Image.new("RGB", (8, 16)).save(tmp_path / f"{number}.png")
        lines.append(f"{number}.png,{split.replace('gallery', 'query')},{split}")
    (tmp_path / "list.csv").write_text("\n".join(lines))
    assert set(BENCHES["loader"](**SIZE, data="csv", path=tmp_path / "list.csv")) == ROWS
    (tmp_path / "1.png").write_bytes(b"")
    with pytest.raises(ValueError, match=r"1\.png"):
        BENCHES["loader"](**SIZE, data="csv", path=tmp_path / "list.csv")


def test_batches_must_fit_the_images():
    with pytest.raises(ValueError, match="batch_size=8 .* set batch_size to at most 5"):
        BENCHES["loader"](**SIZE | {"batch": 8})
