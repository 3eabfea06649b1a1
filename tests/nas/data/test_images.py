"""Image files of every kind come out as RGB, and those that cannot be decoded are named before training."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

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

    def test_orientation_tags_are_ignored(self, tmp_path: Path):
        exif = Image.Exif()
        exif[0x0112] = 6  # "turn by 90 degrees"
        Image.new("RGB", (8, 16)).save(tmp_path / "a.jpg", exif=exif)
        assert Files((tmp_path / "a.jpg",)).read(0).size == (8, 16)

    def test_unreadable_file_is_named(self, tmp_path: Path):
        for path in (tmp_path / "gone.jpg", truncated(tmp_path / "short.jpg"), tmp_path):
            with pytest.raises(ValueError, match=f"cannot read the image {path}"):
                Files((path,)).read(0)


class TestUnreadable:
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


def test_split_may_be_taken_by_mask(tmp_path: Path):
    split = split_of(*(tmp_path / name for name in "abc")).take(np.array([True, False, True]))
    assert [Path(split.images.name(i)).name for i in range(2)] == ["a", "c"]
    assert ReIDData(name="x", train=split, query=split, gallery=split).identities == (0,)
