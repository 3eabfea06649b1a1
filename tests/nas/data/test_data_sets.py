"""Every data set keeps the same contract; each one's own rules and errors come after it."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from nas.data.base import DataSource
from nas.data.csv_file import Csv
from nas.data.market1501 import Market1501
from nas.data.pedestrians import Pedestrians

pytestmark = pytest.mark.filterwarnings("ignore:.* does not have the published counts")  # these trees are small
REAL = Path(__file__).resolve().parents[4] / "shared" / "data" / "market-part"


def paint(path: Path, colour: int = 90, size: tuple[int, int] = (8, 16)) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", size, (colour % 256, 40, 200)).save(path)
    return path


def market_tree(folder: Path) -> Path:
    """Three training identities with two images each; two test identities, a distractor and a junk image."""
    root = folder / "Market-1501-v15.09.15"
    for one in (2, 7, 11):
        for camera in (1, 2):
            paint(root / "bounding_box_train" / f"{one:04d}_c{camera}s1_000451_03.jpg", 20 * one)
    for one in (1, 3):
        paint(root / "query" / f"{one:04d}_c1s1_001051_00.jpg", 20 * one)
    for name in ("0001_c2s1_1_01", "0003_c3s1_1_01", "0000_c2s1_1_01", "-1_c2s1_1_01"):
        paint(root / "bounding_box_test" / f"{name}.jpg")
    return folder


def csv_tree(folder: Path, *, camera: bool = True, names: Callable[[int], str] = "Ann {}".format) -> Path:
    lines = ["path,identity,camera,split" if camera else "path,identity,split"]
    for split, people in {"train": (0, 1, 2), "query": (3, 4), "gallery": (3, 4)}.items():
        for one in people:
            for number in range(1 + (split != "query")):
                path = paint(folder / "bïlder mit blank" / f"{split} {one} {number}.png", 50 * one)
                place = f"gate {number}," if camera else ""
                lines.append(f"{path.relative_to(folder)},{names(one)},{place}{split}")
    file = folder / "list.csv"
    file.write_text("\n".join(lines), encoding="utf-8")
    return file


@pytest.fixture(params=["market", "csv", "csv without cameras", "pedestrians", "real market"])
def source(request: pytest.FixtureRequest, tmp_path: Path) -> DataSource:
    if request.param == "real market" and not REAL.is_dir():
        pytest.skip("the images of market-part are not on this machine")
    return {
        "market": lambda: Market1501(root=market_tree(tmp_path)),
        "csv": lambda: Csv(file=csv_tree(tmp_path)),
        "csv without cameras": lambda: Csv(file=csv_tree(tmp_path, camera=False)),
        "pedestrians": lambda: Pedestrians(num_train_ids=3, num_test_ids=2, images_per_id=5, height=32, width=16),
        "real market": lambda: Market1501(root=REAL, single_images="drop"),
    }[request.param]()


class TestContract:
    def test_splits_hold_numbered_identities_and_cameras(self, source: DataSource):
        data = source.load()
        for split in (data.train, data.query, data.gallery):
            assert len(split) == len(split.images) == len(split.ids) > 0
            assert split.ids.dtype == np.int64
            assert split.cameras is None or (split.cameras.dtype == np.int64 and len(split.cameras) == len(split))

    def test_training_identities_are_apart_from_the_queries_and_have_pairs(self, source: DataSource):
        data = source.load()
        assert not set(data.identities) & set(data.query.ids.tolist())
        assert min(np.bincount(data.train_labels)) >= 2

    def test_labels_are_places_among_the_identities(self, source: DataSource):
        data = source.load()
        assert list(data.identities) == sorted(set(data.train.ids.tolist()))
        assert (np.array(data.identities)[data.train_labels] == data.train.ids).all()
        assert data.counts()["train_identities"] == len(data.identities)

    def test_images_are_rgb_and_names_are_unique(self, source: DataSource):
        data = source.load()
        for split in (data.train, data.query, data.gallery):
            image = split.images.read(len(split) - 1)
            assert image.mode == "RGB" and min(image.size) > 0
            assert len({split.images.name(i) for i in range(len(split))}) == len(split)

    def test_loading_again_gives_the_same(self, source: DataSource):
        one, two = source.load(), source.load()
        for a, b in ((one.train, two.train), (one.query, two.query), (one.gallery, two.gallery)):
            assert (a.ids == b.ids).all()
            assert [a.images.name(i) for i in range(len(a))] == [b.images.name(i) for i in range(len(b))]
            assert a.images.read(0).tobytes() == b.images.read(0).tobytes()

    def test_taken_images_keep_their_identity(self, source: DataSource):
        train = source.load().train
        taken = train.take(np.array([3, 1])).take(np.array([1]))
        assert taken.ids.tolist() == [train.ids[1]]
        assert taken.images.name(0) == train.images.name(1)
        assert taken.images.read(0).tobytes() == train.images.read(1).tobytes()


class TestMarket1501:
    def test_names_become_identities_and_cameras(self, tmp_path: Path):
        data = Market1501(root=market_tree(tmp_path)).load()
        assert data.train.ids.tolist() == [2, 2, 7, 7, 11, 11] and data.train.cameras.tolist() == [1, 2] * 3
        assert data.gallery.ids.tolist() == [-1, 0, 1, 3], "junk and distractors stay, in the order of the names"
        assert data.counts()["gallery_images"] == 4 and data.counts()["gallery_identities"] == 3

    def test_root_may_be_the_folder_itself(self, tmp_path: Path):
        root = market_tree(tmp_path) / "Market-1501-v15.09.15"
        assert len(Market1501(root=root).load().train) == 6

    def test_junk_is_left_out_of_training_and_other_files_are_ignored(self, tmp_path: Path):
        train = market_tree(tmp_path) / "Market-1501-v15.09.15" / "bounding_box_train"
        paint(train / "-1_c1s1_1_01.jpg")
        (train / "Thumbs.db").write_bytes(b"")
        assert Market1501(root=tmp_path).load().identities == (2, 7, 11)

    def test_missing_folder_says_what_was_found(self, tmp_path: Path):
        (tmp_path / "query").mkdir()
        with pytest.raises(ValueError, match=r'"bounding_box_train" is missing.*contains query/'):
            Market1501(root=tmp_path).load()
        with pytest.raises(ValueError, match="nowhere.* does not exist"):
            Market1501(root=tmp_path / "nowhere").load()

    def test_folder_without_images_is_an_error(self, tmp_path: Path):
        for path in (market_tree(tmp_path) / "Market-1501-v15.09.15" / "query").iterdir():
            path.unlink()
        with pytest.raises(ValueError, match="contains no image"):
            Market1501(root=tmp_path).load()

    @pytest.mark.parametrize("name", ["holiday.jpg", "0001_1.jpg", "1-2_c1.jpg"])
    def test_strange_file_is_named(self, tmp_path: Path, name: str):
        paint(market_tree(tmp_path) / "Market-1501-v15.09.15" / "query" / name)
        with pytest.raises(ValueError, match=name):
            Market1501(root=tmp_path).load()


class TestCsv:
    def test_names_are_numbered_alike_in_all_splits(self, tmp_path: Path):
        data = Csv(file=csv_tree(tmp_path, names=lambda one: "zyxwv"[one])).load()
        assert data.identities == (2, 3, 4) and data.query.ids.tolist() == [1, 0]
        assert data.gallery.ids.tolist() == [1, 1, 0, 0] and data.gallery.cameras.tolist() == [0, 1, 0, 1]

    def test_whole_numbers_stay(self, tmp_path: Path):
        data = Csv(file=csv_tree(tmp_path, names=lambda one: f"{one * 100:04d}")).load()
        assert data.identities == (0, 100, 200) and data.query.ids.tolist() == [300, 400]

    def test_numbers_written_in_two_ways_are_names(self, tmp_path: Path):
        data = Csv(file=csv_tree(tmp_path, names=lambda one: ["7", "07", "1", "2", "3"][one])).load()
        assert len(data.identities) == 3

    def test_byte_order_mark_and_further_columns_do_no_harm(self, tmp_path: Path):
        file = csv_tree(tmp_path)
        lines = file.read_text(encoding="utf-8").splitlines()
        file.write_text("\r\n".join(line + ",more" for line in lines), encoding="utf-8-sig")
        assert len(Csv(file=file).load().train) == 6

    @pytest.mark.parametrize(
        ("line", "problem"),
        [
            ("a.png,Eve,1,test", r'line 15: split must be one of train, query, gallery; got "test"'),
            ("a.png,,1,train", "line 15: the column identity is empty"),
            ("a.png,Eve", "line 15: the column split is empty"),
            ("gone.png,Eve,1,train", r"gone.png \(line 15\)"),
        ],
    )
    def test_errors_name_the_line(self, tmp_path: Path, line: str, problem: str):
        file = csv_tree(tmp_path)
        file.write_text(file.read_text(encoding="utf-8") + "\n\n" + line, encoding="utf-8")
        with pytest.raises(ValueError, match=problem):
            Csv(file=file).load()

    @pytest.mark.parametrize(
        ("content", "problem"),
        [
            (b"", "an empty file"),
            (b"path;identity;split\na;b;c", "missing from: path;identity;split"),
            (b"path,identity,split\n", "found none below the header"),
            ("path,identity,split\nä,b,c".encode("latin-1"), "must be a CSV file in UTF-8"),
        ],
    )
    def test_wrong_files_are_explained(self, tmp_path: Path, content: bytes, problem: str):
        file = tmp_path / "list.csv"
        file.write_bytes(content)
        with pytest.raises(ValueError, match=problem):
            Csv(file=file).load()
        with pytest.raises(ValueError, match="does not exist"):
            Csv(file=tmp_path / "none.csv").load()

    def test_a_split_without_images_is_an_error(self, tmp_path: Path):
        file = csv_tree(tmp_path)
        file.write_text(file.read_text(encoding="utf-8").replace(",query", ",gallery"), encoding="utf-8")
        with pytest.raises(ValueError, match="query split needs at least one image"):
            Csv(file=file).load()


class TestSingleImages:
    def tree(self, folder: Path) -> Path:
        for one in range(20, 32):
            paint(market_tree(folder) / "Market-1501-v15.09.15" / "bounding_box_train" / f"{one:04d}_c1s1_1_01.jpg")
        return folder

    def test_error_names_ten_and_says_how_to_fix(self, tmp_path: Path):
        with pytest.raises(ValueError, match=r"20, 21.*29, \.\.\. \(12 in all\).*\"drop\".*\"keep\"") as error:
            Market1501(root=self.tree(tmp_path)).load()
        assert "30" not in str(error.value)

    def test_drop_and_keep(self, tmp_path: Path):
        root = self.tree(tmp_path)
        assert Market1501(root=root, single_images="drop").load().identities == (2, 7, 11)
        assert len(Market1501(root=root, single_images="keep").load().identities) == 15
