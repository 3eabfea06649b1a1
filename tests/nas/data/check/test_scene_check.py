"""A check of scenes finds what was done to a small tree, and the command says it."""

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from scipy.io import savemat

from nas.cli.data import main
from nas.data.check.check import Checked, check
from nas.data.check.scene_problems import overlaps
from nas.data.sets.prw import PRW

Tree = Callable[..., Path]


@pytest.fixture
def root(tree: Tree) -> Path:
    return tree("prw") / "PRW-v16.04.20"


def checked(root: Path) -> Checked:
    return check(PRW(root=root).listed(), {}, num_threads=2)


def items(found: Checked, kind: str) -> list[str]:
    return [item for one in found.problems if one.kind == kind for item in one.items]


def test_what_is_in_the_frames_is_counted(root: Path):
    train, test = checked(root).splits.values()
    assert (train.num_images, train.num_boxes, train.num_unknown, train.num_empty) == (5, 8, 2, 1)
    assert train.num_identities == 3 and train.boxes_per_image.max == 2 and train.images_per_identity.max == 2
    assert (test.num_queries, test.images_per_camera, test.box_height.max) == (3, {"1": 3, "2": 2}, 36)
    assert train.num_queries is None


def test_boxes_twins_and_empty_frames_are_named(root: Path):
    found = checked(root)
    assert found.ok
    assert items(found, "box_clipped") == ["c1s1_000003.jpg: [-3.0, 5.0, 9.0, 35.0]"]
    assert items(found, "box_outside") == ["c1s1_000005.jpg: [100.0, 5.0, 109.0, 35.0]"]
    assert items(found, "twin") == ["identity 2 in c1s1_000003.jpg", "identity 4 in c1s2_000003.jpg"]
    assert items(found, "empty_frame") == ["c2s1_000004.jpg", "c1s2_000005.jpg"]
    assert len(items(found, "remark")) == 1 and items(found, "shared_identity") == ["2"]


def test_unreadable_and_equal_frames_are_named(root: Path):
    frames = root / "frames"
    (frames / "c1s1_000001.jpg").write_bytes(b"")
    (frames / "c1s2_000001.jpg").write_bytes((frames / "c2s1_000002.jpg").read_bytes())
    (frames / "c1s2_000005.jpg").write_bytes((frames / "c1s2_000003.jpg").read_bytes())
    found = checked(root)
    assert not found.ok and items(found, "unreadable") == ["c1s1_000001.jpg: the file is empty (0 bytes)"]
    assert items(found, "same_image_train_test") == ["c2s1_000002.jpg = c1s2_000001.jpg"]
    assert items(found, "same_image") == ["c1s2_000003.jpg = c1s2_000005.jpg"]


def test_frames_of_several_pictures_are_noted(root: Path):
    file = root / "frames" / "c1s1_000001.jpg"
    with Image.open(file) as frame:
        frame.save(file, "TIFF", save_all=True, append_images=[frame.rotate(180)])
    assert items(checked(root), "several_frames") == ["c1s1_000001.jpg"]


def test_queries_that_evaluation_skips_and_those_of_another_box_are_named(root: Path):
    savemat(root / "annotations" / "c2s2_000002.jpg.mat", {"box_new": np.array([[3, 60, 10, 12, 35]])})
    savemat(root / "annotations" / "c2s2_000004.jpg.mat", {"box_new": np.empty((0, 5))})
    savemat(root / "annotations" / "c1s2_000001.jpg.mat", {"box_new": np.array([[2, 5, 5, 10, 30]])})
    found = checked(root)
    assert [item.split(" in ")[0] for item in items(found, "unmatched_query")] == ["identity 3"]
    assert [Path(item).name for item in items(found, "query_box")] == ["c1s2_000001.jpg", "c2s2_000002.jpg"]


def test_what_stops_training_is_an_error(root: Path):
    file = root / "query_info.txt"
    file.write_text(file.read_text() + "\n2 40 4 12 36 c1s2_000001")
    found = checked(root)
    assert not found.ok and items(found, "trained_query") == ["2"]


def test_overlaps_are_intersections_over_unions():
    boxes = np.array([[0, 0, 4, 4], [2, 2, 6, 6], [8, 8, 9, 9]], dtype=float)
    assert np.allclose(overlaps(boxes[0], boxes), [1, 4 / 28, 0])


def test_the_command_says_it_and_draws_a_sheet(root: Path, tmp_path: Path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert main(["check", "prw", str(root)]) == 0
    out = capsys.readouterr().out
    assert "boxes without identity" in out and "warning: boxes without width or height are left out (1)" in out
    assert "train_frames is 5, published 5,704" in out
    assert main(["check", "prw", str(root), "--json", "--strict"]) == 1
    said = json.loads(capsys.readouterr().out)
    assert said["counts"]["queries"] == 3 and said["splits"]["train"]["num_boxes"] == 8
    with Image.open(said["sheet"]) as sheet:
        assert sheet.format == "PNG" and sheet.width > 800
