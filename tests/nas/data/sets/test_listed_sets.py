"""MSMT17, VeRi-776 and VehicleID: images that label files list."""

import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from nas.data.base import ReIDData
from nas.data.sets.msmt17 import MSMT17
from nas.data.sets.vehicleid import VehicleID
from nas.data.sets.veri776 import VeRi776
from nas.data.source import DataSource

pytestmark = pytest.mark.filterwarnings("ignore:.* does not have the published counts")  # these trees are small
Tree = Callable[..., Path]


def names(data: ReIDData, split: str) -> list[str]:
    images = data.splits[split].images
    return [Path(images.name(i)).name for i in range(len(images))]


LISTED = {
    "msmt17": (MSMT17, "MSMT17_V1/list_val.txt", "0001/0001_001_03_0303noon_0009_0.jpg 1"),
    "veri776": (VeRi776, "VeRi/name_query.txt", "0005_c003_00077625_0.jpg"),
    "vehicleid": (VehicleID, "VehicleID_V1.0/train_test_split/train_list.txt", "0000005 40"),
}
"""Class, one of its label files, and the last line of that."""


@pytest.fixture(params=LISTED)
def listed(request: pytest.FixtureRequest, tree: Tree) -> tuple[DataSource, Path, str]:
    """The data set in a small tree, and what LISTED says."""
    kind, file, last = LISTED[request.param]
    root = tree(request.param)
    return kind(root=root), root / file, last


class TestLabelFiles:
    @pytest.mark.parametrize("change", [
        lambda text: text.replace(b"\r\n", b"\n") + b"\n",
        lambda text: text.replace(b"\r\n", b"\n").replace(b"\n", b"\r\n"),
        lambda text: b"\xef\xbb\xbf" + text + b"\n\n  \n",
    ], ids=["unix", "windows", "byte order mark and blank lines"])  # fmt: skip
    def test_line_ends_do_not_matter(self, listed: tuple[DataSource, Path, str], change: Callable[[bytes], bytes]):
        source, file, _ = listed
        before = source.load()
        file.write_bytes(change(file.read_bytes()))
        assert source.load().train.ids.tolist() == before.train.ids.tolist()
        assert source.load().counts() == before.counts()

    @pytest.mark.parametrize(
        "line",
        [
            "holiday",
            "0001_001_03_0303noon_0009_0.jpg one",
            "a b c d",
            "0000005 4 0x",
            f"a.jpg {10**20}",
            f"{10**20}_c001_1_0.jpg",
        ],
    )
    def test_line_that_does_not_parse_is_named(self, listed: tuple[DataSource, Path, str], line: str):
        source, file, last = listed
        number = len(file.read_text().splitlines())
        file.write_text(file.read_text().replace(last, line))
        with pytest.raises(ValueError, match=f'{file.name}, line {number}: "{line}"'):
            source.load()

    def test_missing_image_is_named(self, listed: tuple[DataSource, Path, str]):
        source, file, last = listed
        number = len(file.read_text().splitlines())
        gone = last.replace("000", "999")
        file.write_text(file.read_text().replace(last, gone))
        name = re.split(r"[ .]", gone)[0]
        with pytest.raises(ValueError, match=rf"missing: .*{name}.* \({file.name}, line {number}\)"):
            source.load()

    def test_image_listed_twice_is_named(self, listed: tuple[DataSource, Path, str]):
        source, file, last = listed
        first = len(file.read_text().splitlines())
        file.write_text(f"{file.read_text()}\n\n{last}\n")
        with pytest.raises(ValueError, match=rf"once, .*{file.name}, line {first}; {file.name}, line {first + 2}\)"):
            source.load()

    @pytest.mark.parametrize(("content", "problem"), [
        (b"", "has none"), ("0000005 4ö".encode("latin-1"), "UTF-8"), (None, "is missing: .*contains"),
    ])  # fmt: skip
    def test_file_that_cannot_be_read_is_named(self, listed: tuple[DataSource, Path, str], content, problem: str):
        source, file, _ = listed
        if content is None:
            file.unlink()
        else:
            file.write_bytes(content)
        with pytest.raises(ValueError, match=f"{file.name}.* {problem}"):
            source.load()


class TestMSMT17:
    @pytest.mark.parametrize("version", ["MSMT17_V1", "MSMT17_V2"])
    def test_lines_become_identities_and_cameras(self, tree: Tree, version: str):
        data = MSMT17(root=tree("msmt17", version=version)).load()
        assert data.train.ids.tolist() == [0, 0, 1, 1], "train, then val"
        assert data.train.cameras.tolist() == [0, 14, 1, 2]
        assert data.query.ids.tolist() == data.gallery.ids.tolist() == [2, 3], "test identities start at 0 again"
        assert data.query.cameras.tolist() == [4, 5] and data.gallery.cameras.tolist() == [6, 5]
        folder = "train" if version == "MSMT17_V1" else "mask_train_v2"
        assert f"/{version}/{folder}/0000/0000_000_01_0303morning_0008_0.jpg" in data.train.images.name(0)

    def test_root_may_be_the_folder_itself(self, tree: Tree):
        assert len(MSMT17(root=tree("msmt17") / "MSMT17_V1").load().train) == 4

    def test_root_must_say_which_version(self, tree: Tree):
        tree("msmt17")
        with pytest.raises(ValueError, match="contains MSMT17_V1 and MSMT17_V2; root must say which"):
            MSMT17(root=tree("msmt17", version="MSMT17_V2")).load()

    def test_image_in_train_and_val_is_named(self, tree: Tree):
        root = tree("msmt17") / "MSMT17_V1"
        (root / "list_val.txt").write_text((root / "list_train.txt").read_text())
        with pytest.raises(ValueError, match="list_train.txt, line 1; list_val.txt, line 1"):
            MSMT17(root=root).load()


class TestVeRi776:
    @pytest.mark.parametrize(("camera", "number"), [("c3", 3), ("c10", 10), ("C012", 12), ("c0128", 128)])
    def test_camera_is_the_whole_number(self, tree: Tree, camera: str, number: int):
        root = tree("veri776") / "VeRi"
        name = f"0005_{camera}_00077625_0.jpg"
        (root / "image_query" / "0005_c003_00077625_0.jpg").rename(root / "image_query" / name)
        (root / "name_query.txt").write_text(name)
        assert VeRi776(root=root).listed().query.cameras.tolist() == [number]

    def test_names_become_identities_and_cameras(self, tree: Tree):
        data = VeRi776(root=tree("veri776")).load()
        assert data.train.ids.tolist() == [1, 1, 3, 3] and data.train.cameras.tolist() == [1, 19, 4, 20]
        assert data.query.ids.tolist() == [2, 5] and data.gallery.ids.tolist() == [2, 5, 5]

    def test_jpeg_named_png_is_read(self, tree: Tree):
        root = tree("veri776") / "VeRi"
        image = root / "image_query" / "0005_c003_00077625_0.jpg"
        expected = np.asarray(Image.open(image))
        image.rename(image.with_suffix(".png"))
        (root / "name_query.txt").write_text("0005_c003_00077625_0.png")
        assert np.array_equal(VeRi776(root=root).load().query.images.read(0), expected)


class TestVehicleID:
    def source(self, tree: Tree, **fields) -> VehicleID:
        return VehicleID(root=tree("vehicleid"), **fields)

    def test_lines_become_vehicles_without_cameras(self, tree: Tree):
        data = self.source(tree).load()
        assert data.train.ids.tolist() == [12, 12, 40, 40, 40] and data.train.cameras is None
        assert names(data, "train") == [f"{one:07d}.jpg" for one in range(1, 6)]
        assert data.counts()["query_identities"] == data.counts()["gallery_identities"] == 3

    def test_one_image_of_each_vehicle_is_the_gallery(self, tree: Tree):
        data = self.source(tree).load()
        assert sorted(data.gallery.ids.tolist()) == [7, 8, 9]
        assert sorted(data.query.ids.tolist()) == [7, 8, 8, 9, 9, 9, 9]

    def test_the_papers_sentence_makes_it_the_query(self, tree: Tree):
        data, literal = self.source(tree).load(), self.source(tree, single="query").load()
        assert names(literal, "query") == names(data, "gallery") and names(literal, "gallery") == names(data, "query")
        assert literal.partitions[3][0].tolist() != data.partitions[3][0].tolist()
        assert len(literal.partitions[3][0]) == 3

    def test_each_repeat_divides_all_test_images(self, tree: Tree):
        data = self.source(tree, repeats=20).load()
        ids = np.concatenate([data.query.ids, data.gallery.ids])
        assert len(data.partitions) == 20
        for query, gallery in data.partitions:
            assert sorted([*query, *gallery]) == list(range(10))
            assert sorted(ids[gallery].tolist()) == [7, 8, 9]
        drawn = np.concatenate([gallery for _, gallery in data.partitions])
        assert set(drawn.tolist()) == set(range(10)), "every image has its chance"

    def test_first_repeat_is_query_and_gallery_themselves(self, tree: Tree):
        query, gallery = self.source(tree).load().partitions[0]
        assert query.tolist() == list(range(7)) and gallery.tolist() == [7, 8, 9]

    def test_seed_decides(self, tree: Tree):
        one, same, other = (self.source(tree, seed=seed).load() for seed in (0, 0, 1))
        drawn = [[gallery.tolist() for _, gallery in data.partitions] for data in (one, same, other)]
        assert drawn[0] == drawn[1] != drawn[2]

    def test_skipping_nothing_changes_nothing(self, tree: Tree):
        whole, skipped = self.source(tree).load(), replace(self.source(tree), unreadable="skip").load()
        for split in whole.splits:
            assert names(whole, split) == names(skipped, split)
        for a, b in zip(whole.partitions, skipped.partitions, strict=True):
            assert a[0].tolist() == b[0].tolist() and a[1].tolist() == b[1].tolist()

    def test_repeats_are_drawn_from_the_readable_images(self, tree: Tree):
        source = self.source(tree, unreadable="skip")
        Path(source.load().gallery.images.name(0)).write_bytes(b"")
        with pytest.warns(UserWarning, match="skipped 1 unreadable"):
            data = source.load()
        ids = np.concatenate([data.query.ids, data.gallery.ids])
        for query, gallery in data.partitions:
            assert sorted([*query, *gallery]) == list(range(9))
            assert sorted(ids[gallery].tolist()) == [7, 8, 9], "each vehicle still has its image"
        assert data.partitions[0][1].tolist() == [6, 7, 8]

    def test_test_size_names_the_list(self, tree: Tree):
        with pytest.raises(ValueError, match='"test_list_1600.txt" is missing: .*contains test_list_800.txt'):
            self.source(tree, test_size=1600).load()
