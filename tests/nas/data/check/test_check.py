"""A check finds what was done to a small tree, and leaves the tree as it was."""

import json
import os
import re
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from nas.data.base import ReIDData, Split
from nas.data.check.check import Checked, check
from nas.data.check.problems import Problem
from nas.data.images import Files
from nas.data.sets.csv_file import ImageList
from nas.data.sets.market1501 import Market1501
from nas.data.sets.pedestrians import Pedestrians

GREY = Image.effect_noise((8, 16), 60)
COLOUR = Image.merge("RGB", [GREY, GREY.transpose(Image.Transpose.FLIP_TOP_BOTTOM), GREY])


def painted(path: Path, seed: int) -> Path:
    """A picture unlike that of any other seed."""
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.random.default_rng(seed).integers(0, 256, (16, 8, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(path)
    return path


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """Identities 2 and 7 to train on; 1 and 3 with a query in camera 1 and gallery images in 2; junk; a distractor."""
    names = [
        *(
            f"bounding_box_train/{one}_c{place}.jpg"
            for one in ("0002", "0007")
            for place in ("1s1_1_00", "1s1_1_01", "2s1_1_00", "2s1_1_01")
        ),
        *(f"query/{one:04d}_c1s1_1_00.jpg" for one in (1, 3)),
        *(f"bounding_box_test/{one}_c2s1_1_0{n}.jpg" for one in ("0001", "0003", "0000", "-1") for n in (0, 1)),
    ]
    root = tmp_path / "Bïlder mit blank" / "Market-1501-v15.09.15"
    for seed, name in enumerate(names):
        painted(root / name, seed)
    return root


def checked(tree: Path, strict: bool = False) -> Checked:
    return check(Market1501(root=tree).listed(), {}, strict=strict, num_threads=2)


def problem(found: Checked, kind: str) -> Problem:
    return next(one for one in found.problems if one.kind == kind)


def kinds(found: Checked, severity: str) -> list[str]:
    return [one.kind for one in found.problems if one.severity == severity]


def test_a_whole_tree_has_no_problem_and_is_counted(tree: Path):
    found = checked(tree)
    assert found.ok and found.problems == () and found.duplicates == () and found.unreadable == {}
    assert found.folder == str(tree)
    gallery = found.splits["gallery"]
    assert (gallery.num_images, gallery.num_identities, gallery.num_single) == (8, 3, 0)
    assert gallery.images_per_identity.max == 2 and gallery.images_per_camera == {"2": 8}
    assert found.splits["train"].images_per_camera == {"1": 4, "2": 4} and found.splits["train"].num_cameras == 2
    assert found.splits["query"].formats == {"JPEG": 2} and found.splits["query"].modes == {"RGB": 2}


def test_distractors_do_not_count_as_a_large_identity(tree: Path):
    for number in range(2, 9):
        painted(tree / f"bounding_box_test/0000_c2s1_1_0{number}.jpg", 100 + number)
    assert checked(tree).splits["gallery"].images_per_identity.max == 2


def test_nothing_is_written(tree: Path):
    def listed() -> list[tuple]:
        return [(path, path.stat().st_mtime_ns, path.stat().st_size) for path in sorted(tree.parent.rglob("*"))]

    before = listed()
    tree.chmod(0o555)
    try:
        checked(tree)
    finally:
        tree.chmod(0o755)
    assert listed() == before


def test_each_file_is_opened_once_and_progress_reaches_the_end(tree: Path, monkeypatch: pytest.MonkeyPatch):
    opened, told = [], []
    read = Path.read_bytes
    monkeypatch.setattr(Path, "read_bytes", lambda path: opened.append(path) or read(path))
    check(Market1501(root=tree).listed(), {}, progress=lambda *numbers: told.append(numbers))
    assert sorted(opened) == sorted(tree.rglob("*.jpg"))
    assert told[-1] == (18, 18) and told == sorted(told)


@pytest.mark.parametrize(
    ("damage", "reason"),
    [
        (lambda path: path.write_bytes(b""), r"empty \(0 bytes\)"),
        (lambda path: path.write_text("no image"), "no image format that Pillow knows"),
        (lambda path: path.write_bytes(path.read_bytes()[:-100]), "truncated"),
        (lambda path: (path.unlink(), path.symlink_to("nowhere")), "No such file"),
        (lambda path: (path.unlink(), path.mkdir()), "[Dd]irectory"),
        (lambda path: Image.new("F", (8, 16)).save(path, "TIFF"), "floating-point"),
    ],
    ids=["empty", "text", "truncated", "gone", "folder", "float"],
)
def test_an_image_that_cannot_be_read_is_an_error_with_its_reason(
    tree: Path, damage: Callable[[Path], object], reason: str
):
    data = Market1501(root=tree).listed()
    name = data.train.images.name(1)
    damage(Path(name))
    with pytest.raises(ValueError, match="cannot read the image"):
        data.train.images.read(1)
    found = check(data, {})
    assert not found.ok and kinds(found, "error") == ["unreadable"]
    assert list(found.unreadable) == [os.path.relpath(name, tree)]
    assert re.search(reason, found.unreadable[os.path.relpath(name, tree)])
    assert found.splits["train"].num_unreadable == 1 and found.splits["train"].formats == {"JPEG": 7}


def test_reasons_stay_with_their_images_however_the_work_is_cut(tree: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("nas.data.check.look.CHUNK", 3)
    empty = ["bounding_box_train/0002_c1s1_1_01.jpg", "bounding_box_train/0007_c2s1_1_00.jpg"]
    for name in empty:
        (tree / name).write_bytes(b"")
    assert list(checked(tree).unreadable) == empty


def test_two_empty_files_are_no_duplicates(tree: Path):
    for path in (tree / "query").iterdir():
        path.write_bytes(b"")
    found = checked(tree)
    assert len(found.unreadable) == 2 and found.duplicates == ()
    assert found.splits["query"].width is None and found.splits["query"].num_sizes == 0


@pytest.mark.parametrize(
    ("mode", "image", "words"),
    [
        ("L", GREY, "grey, read as RGB"),
        ("1", GREY.convert("1"), "black and white"),
        ("LA", GREY.convert("LA"), "transparency, which is dropped"),
        ("I;16", Image.fromarray(np.asarray(GREY).astype(np.uint16) * 257), "16 bits, of which the upper 8 remain"),
        ("P", COLOUR.quantize(16), "a palette"),
        ("RGBA", COLOUR.convert("RGBA"), "transparency, which is dropped"),
        ("CMYK", COLOUR.convert("CMYK"), "printing colours"),
    ],
)
def test_images_that_are_not_rgb_are_noted_with_what_becomes_of_them(
    tree: Path, mode: str, image: Image.Image, words: str
):
    name = "query/0001_c1s1_1_00"
    (tree / f"{name}.jpg").unlink()
    suffix = ".jpg" if mode == "CMYK" else ".png"
    image.save(tree / f"{name}{suffix}")
    found = checked(tree)
    assert found.ok and kinds(found, "note") == ["mode"]
    assert words in problem(found, "mode").message and problem(found, "mode").items == (f"{name}{suffix}",)
    assert found.splits["query"].modes == {"RGB": 1, mode: 1}


@pytest.mark.parametrize(("bits", "warned"), [(8, True), (12, True), (14, True), (16, False)])
def test_values_of_fewer_than_16_bits_are_a_warning(tree: Path, bits: int, warned: bool):
    name = "query/0001_c1s1_1_00"
    (tree / f"{name}.jpg").unlink()
    Image.fromarray(np.asarray(GREY).astype(np.uint16) << (bits - 8)).save(tree / f"{name}.png")
    found = checked(tree)
    assert found.ok and kinds(found, "warning") == ["few_bits"] * warned
    if warned:
        assert problem(found, "few_bits").items == (f"{name}.png ({bits} bits)",)


def test_images_of_several_frames_are_noted(tree: Path):
    name = "query/0001_c1s1_1_00"
    (tree / f"{name}.jpg").unlink()
    COLOUR.save(tree / f"{name}.webp", save_all=True, append_images=[COLOUR.rotate(180)])
    found = checked(tree)
    assert found.ok and problem(found, "several_frames").items == (f"{name}.webp",)


@pytest.mark.parametrize(("name", "what"), [("csv", "are turned as that says"), ("market", "as they are stored")])
def test_orientation_tags_are_noted_with_what_becomes_of_them(tree: Path, name: str, what: str):
    file = tree / "query" / "0001_c1s1_1_00.jpg"
    exif = Image.Exif()
    exif[0x0112] = 6
    COLOUR.save(file, exif=exif)
    data = Market1501(root=tree).listed()
    if name == "csv":
        lines = [
            f"{split.images.name(i)},{split.ids[i]},{split_name}"
            for split_name, split in data.splits.items()
            for i in range(len(split))
        ]
        (tree / "list.csv").write_text("\n".join(["path,identity,split", *lines]), encoding="utf-8")
        data = ImageList(file=tree / "list.csv").listed()
    found = check(data, {})
    assert found.ok and kinds(found, "note") == ["orientation"] and what in problem(found, "orientation").message
    assert problem(found, "orientation").items == ("query/0001_c1s1_1_00.jpg (6)",)
    assert found.splits["query"].num_sizes == (2 if name == "csv" else 1)
    assert data.query.images.read(0).size == ((16, 8) if name == "csv" else (8, 16))


def test_what_is_left_out_is_a_warning(tree: Path):
    for name in ("query/0001_c1s1_1_00.heic", "bounding_box_test/notes.txt", "query/.hidden.txt"):
        (tree / name).write_bytes(b"")
    found = checked(tree)
    assert found.ok and kinds(found, "warning") == ["left_out"]
    assert problem(found, "left_out").items == ("query/0001_c1s1_1_00.heic", "bounding_box_test/notes.txt")


def test_a_name_that_ends_as_another_format_is_a_note(tree: Path):
    (tree / "query/0001_c1s1_1_00.jpg").rename(tree / "query/0001_c1s1_1_00.PNG")
    found = checked(tree)
    assert found.ok and problem(found, "extension").items == ("query/0001_c1s1_1_00.PNG is JPEG",)


def test_the_two_pictures_of_a_stereo_camera_are_a_jpeg_to_begin_with(tree: Path):
    COLOUR.save(tree / "query/0001_c1s1_1_00.jpg", "MPO", save_all=True, append_images=[COLOUR])
    found = checked(tree)
    assert found.problems == () and found.splits["query"].formats == {"JPEG": 1, "MPO": 1}


@pytest.mark.parametrize(
    ("of", "to", "severity", "kind"),
    [
        ("bounding_box_train/0002_c1s1_1_00", "query/0001_c1s1_1_00", "error", "same_image_train_test"),
        ("bounding_box_train/0002_c1s1_1_00", "bounding_box_test/-1_c2s1_1_00", "error", "same_image_train_test"),
        ("bounding_box_train/0002_c1s1_1_00", "bounding_box_train/0007_c1s1_1_00", "warning", "same_image_identities"),
        ("query/0001_c1s1_1_00", "bounding_box_test/0003_c2s1_1_00", "warning", "same_image_identities"),
        ("query/0001_c1s1_1_00", "bounding_box_test/0001_c2s1_1_00", "warning", "same_image_query_gallery"),
        ("bounding_box_train/0002_c1s1_1_00", "bounding_box_train/0002_c2s1_1_00", "note", "same_image"),
    ],
)
def test_the_same_bytes_twice_are_judged_by_where_they_are(tree: Path, of: str, to: str, severity: str, kind: str):
    (tree / f"{to}.jpg").write_bytes((tree / f"{of}.jpg").read_bytes())
    found = checked(tree)
    assert found.ok == (severity != "error") and kinds(found, severity) == [kind] and len(found.problems) == 1
    assert [set(group) for group in found.duplicates] == [{f"{of}.jpg", f"{to}.jpg"}]
    assert f"{of}.jpg" in problem(found, kind).items[0] and f"{to}.jpg" in problem(found, kind).items[0]


def test_an_identity_in_training_and_test_is_an_error_but_junk_is_not(tree: Path):
    painted(tree / "bounding_box_train/-1_c1s1_1_00.jpg", 100)
    found = checked(tree)
    assert found.ok and [one.kind for one in found.problems] == ["junk_in_training"]
    assert found.splits["train"].images_per_identity.min == 4
    painted(tree / "bounding_box_test/0007_c1s1_1_00.jpg", 101)
    found = checked(tree)
    assert not found.ok and problem(found, "shared_identity").items == ("7",)


def test_queries_without_a_match_in_another_camera(tree: Path):
    (tree / "query/0003_c1s1_1_00.jpg").rename(tree / "query/0003_c2s1_1_00.jpg")
    found = checked(tree)
    assert found.ok and problem(found, "unmatched_query").severity == "warning"
    assert problem(found, "unmatched_query").items == ("query/0003_c2s1_1_00.jpg",)
    (tree / "query/0001_c1s1_1_00.jpg").rename(tree / "query/0001_c2s1_1_00.jpg")
    assert not checked(tree).ok and kinds(checked(tree), "error") == ["unmatched_query"]


def test_a_query_of_junk_has_no_match(tree: Path):
    (tree / "query/0003_c1s1_1_00.jpg").rename(tree / "query/-1_c1s1_1_00.jpg")
    assert problem(checked(tree), "unmatched_query").items == ("query/-1_c1s1_1_00.jpg",)


def test_without_cameras_any_image_of_the_identity_is_a_match(tree: Path):
    data = Market1501(root=tree).listed()
    bare = {name: Split(images=split.images, ids=split.ids) for name, split in data.splits.items()}
    found = check(ReIDData(name="bare", **bare), {})
    assert found.ok and found.splits["query"].num_cameras is found.splits["query"].images_per_camera is None
    bare["query"] = Split(images=data.query.images, ids=np.array([1, 44]))
    assert problem(check(ReIDData(name="bare", **bare), {}), "unmatched_query").items == ("query/0003_c1s1_1_00.jpg",)


def test_other_counts_than_the_published_are_a_warning_or_when_strict_an_error(tree: Path):
    data, published = Market1501(root=tree).listed(), {"train_images": 12_936, "query_images": 2}
    for strict, severity in ((False, "warning"), (True, "error")):
        found = check(data, published, strict=strict)
        assert kinds(found, severity) == ["count"] and found.ok != strict
        assert problem(found, "count").items == ("train_images is 8, published 12,936",)
        assert found.published == published and found.counts["train_images"] == 8
    assert check(data, {"train_images": 8}, strict=True).ok


def test_many_identities_with_one_image_are_one_warning(tree: Path):
    split = Market1501(root=tree).listed().train
    many = Split(images=Files((Path(split.images.name(0)), Path(split.images.name(1))) * 500), ids=np.arange(4, 1004))
    test = Market1501(root=tree).listed()
    found = check(ReIDData(name="many", train=many, query=test.query, gallery=test.gallery), {})
    assert len(problem(found, "single_image").items) == found.splits["train"].num_single == 1000
    assert str(problem(found, "single_image")).endswith("(1,000): 4; 5; 6; 7; 8; 9; 10; 11; 12; 13; ...")


def test_an_empty_split_is_an_error(tmp_path: Path):
    for seed, name in enumerate(("ä b", "ä c")):
        painted(tmp_path / f"{name}.png", seed)
    (tmp_path / "list.csv").write_text("path,identity,split\nä b.png,x,train\nä c.png,y,gallery", encoding="utf-8")
    found = check(ImageList(file=tmp_path / "list.csv").listed(), {})
    assert problem(found, "empty_split").items == ("query",)
    assert found.splits["query"].images_per_identity is None


def test_synthetic_images_are_compared_by_their_pixels():
    data = Pedestrians(num_train_ids=3, num_test_ids=2, num_cameras=2, images_per_id=4, height=16, width=8).listed()
    found = check(data, {})
    assert found.ok and found.folder is None and found.duplicates == () and kinds(found, "note") == ["drawn"]
    twice = data.train.take(np.array([0, 1, 1, 4, 5]))
    found = check(ReIDData(name="twice", train=twice, query=data.query, gallery=data.gallery), {})
    assert problem(found, "same_image").items == (" = ".join([data.train.images.name(1)] * 2),)


class Black:
    """Drawings of one area and two shapes, so that their pixels are the same bytes."""

    def __len__(self) -> int:
        return 2

    def read(self, i: int) -> Image.Image:
        return Image.new("RGB", ((8, 16), (16, 8))[i])

    def name(self, i: int) -> str:
        return f"black {i}"


def test_synthetic_images_of_different_shapes_are_different(tree: Path):
    data = Market1501(root=tree).listed()
    black = Split(images=Black(), ids=np.array([4, 4]), cameras=np.array([1, 2]))
    assert check(ReIDData(name="black", train=black, query=data.query, gallery=data.gallery), {}).duplicates == ()


def test_files_joined_with_drawings_are_each_looked_at_in_their_way(tree: Path):
    data = Market1501(root=tree).listed()
    drawn = Pedestrians(num_train_ids=2, num_test_ids=1, images_per_id=4, height=16, width=8).listed().train
    joined = data.train.joined(Split(images=drawn.images, ids=drawn.ids + 50, cameras=drawn.cameras))
    found = check(ReIDData(name="both", train=joined, query=data.query, gallery=data.gallery), {})
    assert found.ok and found.splits["train"].formats == {"JPEG": 8, "drawn": 8}


def test_it_becomes_json_and_comes_back(tree: Path):
    (tree / "query/0001_c1s1_1_00.jpg").write_bytes(b"")
    found = checked(tree)
    plain = json.loads(json.dumps(found.to_dict()))
    assert plain["format"] == 1 and plain["ok"] is False and plain["unreadable"] == found.unreadable
    assert plain["splits"]["train"]["images_per_camera"] == {"1": 4, "2": 4}
    assert plain["splits"]["train"]["width"] == {"min": 8, "median": 8, "max": 8}
    assert plain["problems"][0]["kind"] == "unreadable" and len(plain["problems"][0]["items"]) == 1
