"""Image files of every kind come out as RGB, and those that cannot be decoded are named before training."""

import struct
import zlib
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageOps

from nas.data.base import ReIDData, Split
from nas.data.cache import ImageCache
from nas.data.checks import check_readable
from nas.data.images import Files
from nas.data.sets.csv_file import ImageList
from nas.data.sets.pedestrians import Pedestrians

GREY = np.tile(np.arange(0, 256, 16, dtype=np.uint8), (8, 1))


def split_of(*paths: Path) -> Split:
    return Split(images=Files(paths), ids=np.zeros(len(paths), dtype=np.int64))


def truncated(path: Path) -> Path:
    Image.effect_noise((64, 64), 50).save(path)
    path.write_bytes(path.read_bytes()[:1000])
    return path


def with_bad_files(folder: Path, num_good: int = 4) -> Path:
    """A CSV of readable images, with one empty, one truncated and one that is no image among the training images."""
    lines = ["path,identity,split"]
    for split, who in (("train", "a"), ("query", "b"), ("gallery", "b")):
        for number in range(num_good):
            Image.new("RGB", (8, 16)).save(folder / f"{split}{number}.png")
            lines.append(f"{split}{number}.png,{who},{split}")
    (folder / "empty.jpg").write_bytes(b"")
    (folder / "text.jpg").write_text("not an image")
    truncated(folder / "short.jpg")
    lines += [f"{name}.jpg,a,train" for name in ("empty", "text", "short")]
    (folder / "list.csv").write_text("\n".join(lines), encoding="utf-8")
    return folder / "list.csv"


class TestFiles:
    @pytest.mark.parametrize(
        ("name", "image"),
        [
            ("grey.png", Image.fromarray(GREY)),
            ("grey.jpg", Image.fromarray(GREY)),
            ("16bit.png", Image.fromarray(GREY.astype(np.uint16) * 257)),
            ("32bit.tif", Image.fromarray(GREY.astype(np.int32) * 257)),
            ("alpha.png", Image.fromarray(GREY).convert("RGBA")),
            ("grey-alpha.png", Image.fromarray(GREY).convert("LA")),
            ("palette.png", Image.fromarray(GREY).convert("RGB").quantize(16)),
            ("palette.gif", Image.fromarray(GREY).convert("P")),
            ("cmyk.jpg", Image.fromarray(GREY).convert("RGB").convert("CMYK")),
        ],
    )
    def test_every_kind_becomes_rgb(self, tmp_path: Path, name: str, image: Image.Image):
        image.save(tmp_path / name)
        read = Files((tmp_path / name,)).read(0)
        assert read.mode == "RGB"
        assert np.abs(np.asarray(read).astype(int) - GREY[..., None]).max() <= (12 if name.endswith("jpg") else 1)

    @pytest.mark.parametrize("factor", [-1, 300])
    def test_grey_beyond_16_bits_is_refused(self, tmp_path: Path, factor: int):
        Image.fromarray(GREY.astype(np.int32) * factor).save(tmp_path / "32bit.tif")
        with pytest.raises(ValueError, match=r"32bit.tif: its grey values must fit into 16 bits"):
            Files((tmp_path / "32bit.tif",)).read(0)

    def test_transparent_palette_is_read_without_a_warning(self, tmp_path: Path):
        image = Image.fromarray(GREY).convert("RGB").quantize(16)
        image.save(tmp_path / "a.png", transparency=b"\x00" * 3 + b"\xff" * 13)
        assert Files((tmp_path / "a.png",)).read(0).mode == "RGB"

    @pytest.mark.parametrize("orientation", [*range(10), 65535])
    @pytest.mark.parametrize("name", ["a.jpg", "a.png", "a.webp"])
    def test_orientation_tags_count_where_images_are_read_upright(self, tmp_path: Path, name: str, orientation: int):
        exif = Image.Exif()
        exif[0x0112] = orientation
        Image.effect_noise((8, 16), 60).convert("RGB").save(tmp_path / name, exif=exif)
        with Image.open(tmp_path / name) as image:
            stored, upright = np.asarray(image), np.asarray(ImageOps.exif_transpose(image))
        files, turned = Files((tmp_path / name,)), Files((tmp_path / name,), upright=True)
        assert np.array_equal(files.read(0), stored) and np.array_equal(turned.read(0), upright)
        assert (stored.shape != upright.shape) == (orientation in (5, 6, 7, 8)) and turned.read(0).info == {}

    def test_tags_that_are_not_followed_are_one_warning_before_training(self, tmp_path: Path):
        exif = Image.Exif()
        exif[0x0112] = 6
        paths = tuple(tmp_path / f"{name}.jpg" for name in "abcde")
        for path in paths:
            Image.new("RGB", (8, 16)).save(path, exif=exif if path.name != "a.jpg" else b"")
        with pytest.warns(UserWarning, match=r"^4 images with an orientation tag .* stored.*b.jpg.*\(4 in all\)$"):
            ImageCache(split_of(*paths), 16, 8)
        ImageCache(replace(split_of(*paths), images=Files(paths, upright=True)), 16, 8)

    def test_damaged_tags_turn_nothing(self, tmp_path: Path):
        Image.new("RGB", (8, 16)).save(tmp_path / "a.png", exif=b"Exif\0\0no TIFF at all")
        assert Files((tmp_path / "a.png",), upright=True).read(0).size == (8, 16)

    def test_tags_of_tiff_files_are_applied_once(self, tmp_path: Path):
        exif = Image.Exif()
        exif[0x0112] = 6
        Image.new("RGB", (8, 16)).save(tmp_path / "a.tif", exif=exif)
        assert {Files((tmp_path / "a.tif",), upright=upright).read(0).size for upright in (True, False)} == {(16, 8)}

    def test_unreadable_file_is_named(self, tmp_path: Path):
        for path in (tmp_path / "gone.jpg", truncated(tmp_path / "short.jpg"), tmp_path):
            with pytest.raises(ValueError, match=f"cannot read the image {path}"):
                Files((path,)).read(0)


def save_deep(path: Path, values: np.ndarray, colour: bool) -> Path:
    """A PNG with 16 bits per channel, grey or RGB; Pillow writes no such RGB."""
    stored = np.repeat(values[..., None], 3 if colour else 1, axis=2).astype(">u2")
    rows = b"".join(b"\0" + row.tobytes() for row in stored)
    header = struct.pack(">IIBBBBB", values.shape[1], values.shape[0], 16, 2 if colour else 0, 0, 0, 0)
    chunks = {b"IHDR": header, b"IDAT": zlib.compress(rows), b"IEND": b""}
    content = [
        struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
        for kind, data in chunks.items()
    ]
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + b"".join(content))
    return path


@pytest.mark.parametrize("colour", [False, True])
class TestDepth:
    @pytest.mark.parametrize(("shift", "num_bits"), [(0, 8), (2, 10), (4, 12), (6, 14)])
    @pytest.mark.parametrize("max_gib", [8.0, 0.0])
    def test_values_of_fewer_than_16_bits_are_warned_of(
        self, tmp_path: Path, colour: bool, shift: int, num_bits: int, max_gib: float
    ):
        paths = [save_deep(tmp_path / f"{name}.png", GREY.astype(int) << shift, colour) for name in "ab"]
        with pytest.warns(
            UserWarning, match=rf"^2 images with 16 bits .*8 bits per channel.*a.png \({num_bits} bits\)"
        ):
            ImageCache(split_of(*paths), 16, 8, max_gib=max_gib)

    def test_among_images_that_use_all_bits_only_the_nearly_black_are_named(self, tmp_path: Path, colour: bool):
        bits = {"dark": 12, "dim": 14, "bright": 16}
        paths = [save_deep(tmp_path / f"{one}.png", GREY.astype(int) << (bits[one] - 8), colour) for one in bits]
        with pytest.warns(UserWarning, match=r"^1 images .*dark.png \(12 bits\)$"):
            ImageCache(split_of(*paths), 16, 8)
        ImageCache(split_of(*paths[1:]), 16, 8)

    def test_images_of_8_bits_may_be_as_dark_as_they_are(self, tmp_path: Path, colour: bool):
        image = Image.fromarray(GREY >> 6)
        (image.convert("RGB") if colour else image).save(tmp_path / "night.png")
        ImageCache(split_of(tmp_path / "night.png"), 16, 8)


class TestFrames:
    @pytest.mark.parametrize("name", ["a.gif", "a.webp", "a.png", "a.tif"])
    def test_the_first_of_several_is_read_and_that_is_said(self, tmp_path: Path, name: str):
        first, second = (Image.new("RGB", (8, 16), colour) for colour in ("black", "white"))
        first.save(tmp_path / name, save_all=True, append_images=[second], lossless=True)
        with pytest.warns(UserWarning, match=rf"^1 images with several frames .* the first is read.*{name}$"):
            assert not ImageCache(split_of(tmp_path / name), 16, 8).get(np.array([0])).any()
        first.save(tmp_path / name)
        ImageCache(split_of(tmp_path / name), 16, 8)


class TestUnreadable:
    def test_more_pixels_than_any_crop_has_are_named(self, tmp_path: Path):
        Image.new("1", (8193, 8193)).save(tmp_path / "bomb.png")
        with pytest.raises(ValueError, match=r"cannot read the image .*bomb\.png: it has 8193x8193 pixels"):
            Files((tmp_path / "bomb.png",)).read(0)

    def test_all_are_found(self, tmp_path: Path):
        data = ImageList(file=with_bad_files(tmp_path)).load()
        failures = check_readable(data.train)
        assert [Path(name).name for name, _ in failures] == ["empty.jpg", "text.jpg", "short.jpg"]
        assert check_readable(data.query) == check_readable(Pedestrians().load().train) == []

    @pytest.mark.parametrize("max_gib", [8.0, 0.0])
    def test_cache_names_them_before_training(self, tmp_path: Path, max_gib: float):
        data = ImageList(file=with_bad_files(tmp_path)).load()
        with pytest.raises(ValueError, match=r'empty.jpg.*text.jpg.*short.jpg.*"skip"'):
            ImageCache(data.train, 16, 8, max_gib=max_gib)

    def test_more_than_ten_are_counted(self, tmp_path: Path):
        paths = [tmp_path / f"{number:02d}.jpg" for number in range(12)]
        for path in paths:
            path.write_bytes(b"")
        with pytest.raises(ValueError, match=r"09.jpg.*\(12 in all\)") as error:
            ImageCache(split_of(*paths), 16, 8)
        assert "10.jpg" not in str(error.value)

    def test_skipping_warns_and_leaves_them_out(self, tmp_path: Path):
        with pytest.warns(UserWarning, match="skipped 3 unreadable images: .*empty.jpg"):
            data = ImageList(file=with_bad_files(tmp_path), unreadable="skip").load()
        assert len(data.train) == 4 and len(ImageCache(data.train, 16, 8)) == 4

    def test_skipping_comes_before_counting_the_images_of_an_identity(self, tmp_path: Path):
        file = with_bad_files(tmp_path, num_good=1)
        with (
            pytest.warns(UserWarning, match="skipped 3 unreadable images"),
            pytest.raises(ValueError, match="at least two images"),
        ):
            ImageList(file=file, unreadable="skip").load()


def test_split_needs_as_many_identities_as_images(tmp_path: Path):
    with pytest.raises(ValueError, match="one identity and one camera for each image"):
        Split(images=Files((tmp_path,)), ids=np.zeros(2, dtype=np.int64))


@pytest.mark.parametrize(("ids", "cameras"), [([-2], [0]), ([0], [-2]), ([-(10**18)], None)])
def test_numbers_below_minus_1_are_an_error(tmp_path: Path, ids: list[int], cameras: list[int] | None):
    cameras = None if cameras is None else np.array(cameras)
    with pytest.raises(ValueError, match="must be 0 or more, or -1 .*; got -"):
        Split(images=Files((tmp_path,)), ids=np.array(ids), cameras=cameras)


def test_split_may_be_taken_by_mask(tmp_path: Path):
    split = split_of(*(tmp_path / name for name in "abc")).take(np.array([True, False, True]))
    assert [Path(split.images.name(i)).name for i in range(2)] == ["a", "c"]
    assert ReIDData(name="x", train=split, query=split, gallery=split).identities == (0,)
