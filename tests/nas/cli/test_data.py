"""`nas data check` as a user types it: what it prints, what it writes and where, and its exit status."""

import json
import os
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from nas.cli.data import main

TOY = ("--num-train-ids", "3", "--num-test-ids", "2", "--images-per-id", "8", "--height", "16", "--width", "8")


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    return tmp_path / "here"


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """Market-1501's layout: two identities to train on and one with a query and a gallery image."""
    root, rng = tmp_path / "my dätä" / "Market-1501-v15.09.15", np.random.default_rng(0)
    train = [f"bounding_box_train/{one:04d}_c{camera}s1_1_00.jpg" for one in (2, 7) for camera in (1, 2)]
    for name in (*train, "query/0001_c1s1_1_00.jpg", "bounding_box_test/0001_c2s1_1_00.jpg"):
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(rng.integers(0, 256, (16, 8, 3), dtype=np.uint8)).save(root / name)
    return root


def check(*arguments: object) -> int:
    return main(["check", *map(str, arguments)])


def test_tables_problems_and_the_sheet(tree: Path, here: Path, capsys: pytest.CaptureFixture):
    (tree / "query/0001_c1s1_1_00.jpg").rename(tree / "query/0001_c1s1_1_00.png")
    assert check("market1501", tree.parent) == 0
    out = capsys.readouterr().out
    assert "Market-1501" in out and "identities with one image" in out and "JPEG" in out and "images of camera" in out
    assert "warning: counts that are not the published ones (" in out and "train_images is 4, published 12,936" in out
    assert "note: file names that end as another format" in out and "query/0001_c1s1_1_00.png is JPEG" in out
    sheet = Path("runs/out/data-check/market1501-contact-sheet.png")
    assert out.endswith(f"errors: 0, warnings: 1, notes: 1\ncontact sheet: {sheet}\n")
    with Image.open(here / sheet) as picture:
        assert picture.format == "PNG" and picture.width > 500


@pytest.mark.parametrize(("arguments", "status"), [((), 0), (("--strict",), 1)])
def test_json_is_alone_on_standard_output(tree: Path, tmp_path: Path, arguments: tuple, status: int, capfd):
    assert check("market1501", tree, "--json", "--sheet", tmp_path / "a b.png", *arguments) == status
    out, err = capfd.readouterr()
    said = json.loads(out)
    assert err == "" and said["ok"] == (status == 0) and said["sheet"] == str(tmp_path / "a b.png")
    assert [one["severity"] for one in said["problems"]] == ["error" if status else "warning"]
    assert (tmp_path / "a b.png").is_file() and said["counts"]["train_images"] == 4


def test_an_error_is_said_and_gives_1(tree: Path, capsys: pytest.CaptureFixture):
    (tree / "query/0001_c1s1_1_00.jpg").write_bytes(b"")
    assert check("market1501", tree) == 1
    out = capsys.readouterr().out
    assert "error: images that cannot be read (1): query/0001_c1s1_1_00.jpg: the file is empty (0 bytes)" in out
    assert "errors: 1" in out


def test_synthetic_data_take_fields_instead_of_a_path(capsys: pytest.CaptureFixture):
    assert check("pedestrians", *TOY, "--json") == 0
    said = json.loads(capsys.readouterr().out)
    assert said["splits"]["train"]["num_images"] == 24 and said["folder"] is None


def test_names_of_any_bytes_are_said_and_go_into_json(tree: Path, capsys: pytest.CaptureFixture):
    name = os.fsdecode(b"0001_c1s1_\xff.jpg")
    (tree / "query" / name).write_bytes(b"")
    assert check("market1501", tree) == 1
    assert "query/0001_c1s1_?.jpg: the file is empty" in capsys.readouterr().out
    assert check("market1501", tree, "--json") == 1
    assert json.loads(capsys.readouterr().out)["unreadable"] == {f"query/{name}": "the file is empty (0 bytes)"}


def test_markup_in_names_is_not_obeyed(tmp_path: Path, capsys: pytest.CaptureFixture):
    folder = tmp_path / "[red]"
    folder.mkdir()
    lines = ["path,identity,split"]
    for number, split in enumerate(("train", "train", "query", "gallery")):
        Image.new("L", (8, 16), 60 * number).save(folder / f"[bold]{number}.png")
        lines.append(f"[bold]{number}.png,{split in ('query', 'gallery')},{split}")
    (folder / "[blue].csv").write_text("\n".join(lines))
    assert check("csv", folder / "[blue].csv") == 0
    out = capsys.readouterr().out
    assert "[blue].csv" in out and "[bold]0.png; [bold]1.png" in out


def test_the_sheet_never_goes_into_the_data(tree: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    before = sorted(tree.rglob("*"))
    for inside in (tree / "sheet.png", tree / "query" / "sheet.png", tree / "new" / "sheet.png"):
        with pytest.raises(ValueError, match="nothing is written into the data set's own folder"):
            check("market1501", tree.parent, "--sheet", inside)
    monkeypatch.chdir(tree)
    with pytest.raises(ValueError, match="give another place with --sheet"):
        check("market1501", ".")
    assert sorted(tree.rglob("*")) == before
    monkeypatch.chdir(tree.parent)
    assert check("market1501", ".") == 0, "beside the data set is fine"


def test_the_sheet_is_a_png(tree: Path):
    with pytest.raises(ValueError, match=r"must end in \.png; got .*sheet\.jpg"):
        check("market1501", tree, "--sheet", "sheet.jpg")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["chekc", "market1501"], "there is no command 'data chekc' .did you mean 'check'"),
        (["check", "market151", "x"], "no data set is named 'market151' .did you mean 'market1501'"),
        (["check", "market1501"], "market1501 needs the path"),
        (["check", "market1501", "nowhere"], "nowhere"),
        (["check", "pedestrians", "nowhere"], "takes no path"),
    ],
)
def test_what_cannot_be_read_is_an_error_before_anything_is_written(here: Path, arguments: list[str], message: str):
    with pytest.raises(ValueError, match=message):
        main(arguments)
    assert list(here.iterdir()) == []


@pytest.mark.parametrize(("arguments", "status"), [([], 2), (["--help"], 0), (["check"], 2), (["check", "-h"], 0)])
def test_usage(arguments: list[str], status: int, capsys: pytest.CaptureFixture):
    assert main(arguments) == status
    assert "usage: nas data check NAME" in capsys.readouterr().out


def test_help_of_a_data_set_lists_its_fields_without_those_for_training(capsys: pytest.CaptureFixture):
    with pytest.raises(SystemExit) as stopped:
        check("market1501", "--help")
    out = capsys.readouterr().out
    assert stopped.value.code == 0 and "--strict" in out and "--sheet" in out and "--distractors" in out
    assert "--unreadable" not in out and "--root" not in out


def test_the_sheets_seed_is_refused_before_any_image_is_opened():
    with pytest.raises(ValueError, match="^--sheet-seed must be at least 0, not -1$"):
        check("market1501", "nowhere", "--sheet-seed", "-1")
