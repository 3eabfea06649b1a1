"""Every data set keeps the same contract; what all share is tested after it."""

import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from nas.data.base import ReIDData
from nas.data.checks import count_differences
from nas.data.sets.csv_file import ImageList
from nas.data.sets.cuhk03 import CUHK03
from nas.data.sets.dukemtmc import DukeMTMC
from nas.data.sets.market1501 import Market1501
from nas.data.sets.msmt17 import MSMT17
from nas.data.sets.pedestrians import Pedestrians
from nas.data.sets.vehicleid import VehicleID
from nas.data.sets.vehicles import Vehicles
from nas.data.sets.veri776 import VeRi776
from nas.data.source import DataSource

small = pytest.mark.filterwarnings("ignore:.* does not have the published counts")  # as all these trees are
Tree = Callable[..., Path]
REAL = Path(__file__).resolve().parents[5] / "shared" / "data"
MARKET, VERI = REAL / "market-part", REAL / "veri-sample"


def real_veri(folder: Path) -> Path:
    """The 57 images, which lie flat, in the real layout: two vehicles to train, two to test."""
    lists: dict[str, list[str]] = {"train": [], "query": [], "test": []}
    seen = set()
    for image in sorted(VERI.glob("*.jpg")):
        vehicle, camera, *_ = image.name.split("_")
        part = "train" if vehicle in ("0002", "0006") else "test" if (vehicle, camera) in seen else "query"
        seen.add((vehicle, camera))
        lists[part].append(image.name)
    for part, names in lists.items():
        (folder / f"image_{part}").mkdir(parents=True)
        (folder / f"name_{part}.txt").write_text("\n".join(names))
        for name in names:
            (folder / f"image_{part}" / name).symlink_to(VERI / name)
    return folder


SOURCES = {
    "market": lambda tree, _: Market1501(root=tree("market1501")),
    "market + 500k": lambda tree, _: Market1501(root=tree("market1501"), distractors=tree("distractors")),
    "duke": lambda tree, _: DukeMTMC(root=tree("dukemtmc")),
    "cuhk03": lambda tree, _: CUHK03(root=tree("cuhk03")),
    "cuhk03 mat": lambda tree, path: CUHK03(root=tree("cuhk03 mat"), boxes="labeled", cache=path / "cache"),
    "msmt17 v1": lambda tree, _: MSMT17(root=tree("msmt17")),
    "msmt17 v2": lambda tree, _: MSMT17(root=tree("msmt17", version="MSMT17_V2")),
    "veri": lambda tree, _: VeRi776(root=tree("veri776")),
    "vehicleid": lambda tree, _: VehicleID(root=tree("vehicleid")),
    "csv": lambda tree, _: ImageList(file=tree("csv")),
    "csv without cameras": lambda tree, _: ImageList(file=tree("csv", camera=False)),
    "pedestrians": lambda *_: Pedestrians(num_train_ids=3, num_test_ids=2, images_per_id=5, height=32, width=16),
    "vehicles": lambda *_: Vehicles(num_train_ids=3, num_test_ids=2, images_per_id=5, height=24, width=32),
    "real market": lambda *_: Market1501(root=MARKET, single_images="drop"),
    "real veri": lambda _, path: VeRi776(root=real_veri(path / "VeRi")),
}


@pytest.fixture(params=SOURCES)
def source(request: pytest.FixtureRequest, tree: Tree, tmp_path: Path) -> DataSource:
    if request.param.startswith("real") and not REAL.is_dir():
        pytest.skip("the real images are not on this machine")
    return SOURCES[request.param](tree, tmp_path)


@small
class TestContract:
    def test_splits_hold_numbered_identities_and_cameras(self, source: DataSource):
        data = source.load()
        for split in data.splits.values():
            assert len(split) == len(split.images) == len(split.ids) > 0
            assert split.ids.dtype == np.int64
            assert split.cameras is None or (split.cameras.dtype == np.int64 and len(split.cameras) == len(split))

    def test_training_identities_are_apart_from_the_test_and_have_pairs(self, source: DataSource):
        data = source.load()
        assert not set(data.identities) & {*data.query.ids.tolist(), *data.gallery.ids.tolist()}
        assert min(np.bincount(data.train_labels)) >= 2

    def test_most_queries_can_be_found(self, source: DataSource):
        data = source.load()
        assert np.isin(data.query.ids, data.gallery.ids).mean() > 0.9

    def test_labels_are_places_among_the_identities(self, source: DataSource):
        data = source.load()
        assert list(data.identities) == sorted(set(data.train.ids.tolist()))
        assert (np.array(data.identities)[data.train_labels] == data.train.ids).all()
        assert data.counts()["train_identities"] == len(data.identities)

    def test_images_are_rgb_and_names_are_unique(self, source: DataSource):
        data = source.load()
        for split in data.splits.values():
            image = split.images.read(len(split) - 1)
            assert image.mode == "RGB" and min(image.size) > 0
            assert len({split.images.name(i) for i in range(len(split))}) == len(split)

    def test_loading_again_gives_the_same(self, source: DataSource):
        for a, b in zip(source.load().splits.values(), source.load().splits.values(), strict=True):
            assert (a.ids == b.ids).all()
            assert [a.images.name(i) for i in range(len(a))] == [b.images.name(i) for i in range(len(b))]
            assert a.images.read(0).tobytes() == b.images.read(0).tobytes()

    def test_taken_images_keep_their_identity(self, source: DataSource):
        train = source.load().train
        taken = train.take(np.array([3, 1])).take(np.array([1]))
        assert taken.ids.tolist() == [train.ids[1]]
        assert taken.images.name(0) == train.images.name(1)
        assert taken.images.read(0).tobytes() == train.images.read(1).tobytes()

    def test_nothing_is_written_beside_the_users_files(self, source: DataSource, tmp_path: Path):
        before = sorted((tmp_path / "bïlder mit blank").rglob("*"))
        source.load()
        assert sorted((tmp_path / "bïlder mit blank").rglob("*")) == before

    def test_label_noise_reaches_the_data(self, source: DataSource):
        assert replace(source, label_noise=0.25).load().label_noise == 0.25


class TestCounts:
    def test_other_counts_than_published_are_warned_of_or_an_error(self, source: DataSource):
        if not source.published():
            assert len(replace(source, strict=True).load().train) > 0
            return
        with pytest.warns(UserWarning, match="does not have the published counts") as warned:
            source.load()
        with pytest.raises(ValueError, match="strict") as error:
            replace(source, strict=True).load()
        found = source.listed().counts()
        for name, number in source.published().items():
            sentence = f"{name} must be {number:,} and is {found[name]:,}"
            assert (found[name] != number) == (sentence in str(warned[0].message)) == (sentence in str(error.value))

    def test_equal_counts_are_silent(self, tree: Tree, monkeypatch: pytest.MonkeyPatch):
        source = Market1501(root=tree("market1501"), strict=True)
        monkeypatch.setattr(Market1501, "published", lambda self: self.listed().counts())
        assert source.published()["train_images"] == len(source.load().train)

    def test_differences_are_named_with_both_numbers(self):
        data = Pedestrians(num_train_ids=3, num_test_ids=2, images_per_id=8).load()
        differences = count_differences(data, {"train_images": 24, "query_images": 9, "cameras": 4})
        assert differences == [("query_images", 9, 8)]

    def test_junk_distractors_and_unknown_cameras_are_told_apart(self, tree: Tree):
        assert Market1501(root=tree("market1501"), distractors=tree("distractors")).listed().counts() == {
            "train_images": 6, "train_identities": 3, "query_images": 2, "query_identities": 2,
            "gallery_images": 7, "gallery_identities": 3, "gallery_junk": 1, "gallery_distractors": 4, "cameras": 3,
        }  # fmt: skip


@small
class TestLoad:
    def test_shared_identities_are_named(self, tree: Tree):
        root = tree("market1501")
        for name in ("0007_c4s1_1_01.jpg", "0011_c4s1_1_01.jpg"):
            folder = root / "Market-1501-v15.09.15"
            os.link(folder / "query" / "0001_c1s1_001051_00.jpg", folder / "bounding_box_test" / name)
        with pytest.raises(ValueError, match="must not share an identity, but both have 7, 11"):
            Market1501(root=root).load()

    def test_a_split_without_images_is_an_error(self, tree: Tree):
        file = tree("csv")
        file.write_text(file.read_text(encoding="utf-8").replace(",query", ",gallery"), encoding="utf-8")
        with pytest.raises(ValueError, match="query split needs at least one image"):
            ImageList(file=file).load()

    def test_a_query_of_an_unknown_camera_is_named(self, monkeypatch):
        data = Pedestrians(num_train_ids=2, num_test_ids=2, images_per_id=4, height=32, width=16).listed()
        cameras = np.where(np.arange(len(data.query)) == 1, -1, data.query.cameras)
        without = replace(data, query=replace(data.query, cameras=cameras))
        monkeypatch.setattr(Pedestrians, "listed", lambda _: without)
        with pytest.raises(ValueError, match=f"query needs a known camera.*{data.query.images.name(1)}"):
            Pedestrians().load()

    def test_joined_images_come_one_source_after_the_other(self, tree: Tree):
        data: ReIDData = DukeMTMC(root=tree("dukemtmc")).load()
        both = data.query.joined(data.gallery)
        names = [split.images.name(i) for split in (data.query, data.gallery) for i in range(len(split))]
        assert [both.images.name(i) for i in range(len(both))] == names
        assert both.images.read(3).tobytes() == data.gallery.images.read(1).tobytes()
        assert both.cameras.tolist() == [2, 1, 5, 3, 4] and both.ids.tolist() == [5, 23, 5, 23, 99]


@small
class TestSingleImages:
    @pytest.fixture
    def root(self, tree: Tree) -> Path:
        """Twelve further training identities with one image each."""
        folder = (root := tree("market1501")) / "Market-1501-v15.09.15" / "bounding_box_train"
        for one in range(20, 32):
            os.link(folder / "0002_c1s1_000451_03.jpg", folder / f"{one:04d}_c1s1_1_01.jpg")
        return root

    def test_error_names_ten_and_says_how_to_fix(self, root: Path):
        with pytest.raises(ValueError, match=r"20, 21.*29, \.\.\. \(12 in all\).*\"drop\".*\"keep\"") as error:
            Market1501(root=root).load()
        assert "30" not in str(error.value)

    def test_drop_and_keep(self, root: Path):
        assert Market1501(root=root, single_images="drop").load().identities == (2, 7, 11)
        assert len(Market1501(root=root, single_images="keep").load().identities) == 15
