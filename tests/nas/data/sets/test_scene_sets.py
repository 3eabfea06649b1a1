"""Every data set for person search keeps the same contract; what each reads, and says of what it cannot read, after
it."""

import gzip
import json
import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from scipy.io import loadmat, savemat

from nas.data.augment import IMAGENET_MEAN, IMAGENET_STD
from nas.data.scene_cache import SceneSize
from nas.data.scenes import SceneData, SceneSource, SceneSplit, SearchQueries, labels_of
from nas.data.sets.cuhk_sysu import CUHKSYSU
from nas.data.sets.prw import PRW, PRWMini
from nas.data.sets.scenes_csv import SceneList
from nas.data.sets.street import Street
from nas.report.query_results import Queries
from nas.tasks.base import EvaluatedNetwork
from nas.tasks.person_search.settings import SearchEvaluation
from nas.tasks.person_search.task import PersonSearchTask
from nas.training.machine import Machine
from nas.training.stage import Stage
from students.scenes import Detections, SceneAnswer, Scenes

quiet = pytest.mark.filterwarnings("ignore:.* does not have the published counts", "ignore:.* boxes .* are left out")
Tree = Callable[..., Path]
REAL = Path(__file__).resolve().parents[5] / "shared" / "data" / "scenes"
TINY = Street(num_train_scenes=3, num_test_scenes=3, num_train_ids=4, num_test_ids=3, height=48, width=72)
SOURCES = {
    "prw": lambda tree: PRW(root=tree("prw")),
    "prw_mini": lambda tree: PRWMini(root=tree("prw", queries="prwmini_query_info.txt")),
    "cuhk_sysu": lambda tree: CUHKSYSU(root=tree("cuhk_sysu")),
    "scenes_csv": lambda tree: SceneList(file=tree("scenes_csv")),
    "street": lambda tree: TINY,
    "real prw": lambda tree: PRW(root=REAL / "prw-16"),
    "real csv": lambda tree: SceneList(file=REAL / "pets09-s2l1" / "scenes.csv"),
}


@pytest.fixture(params=SOURCES)
def source(request: pytest.FixtureRequest, tree: Tree) -> SceneSource:
    if request.param.startswith("real") and not REAL.is_dir():
        pytest.skip("the real scenes are not on this machine")
    return SOURCES[request.param](tree)


@quiet
class TestContract:
    def test_boxes_are_corners_with_numbered_identities(self, source: SceneSource):
        for split in source.load().splits.values():
            assert len(split) == len(split.images) == len(split.boxes) == len(split.ids) > 0
            assert split.cameras is None or (split.cameras.dtype == np.int64 and len(split.cameras) == len(split))
            for boxes, ids in zip(split.boxes, split.ids, strict=True):
                assert boxes.dtype == np.float64 and boxes.shape == (len(ids), 4) and ids.dtype == np.int64
                assert (boxes[:, 2:] > boxes[:, :2]).all() and (ids >= -1).all()

    def test_no_identity_that_a_query_asks_for_is_trained_on(self, source: SceneSource):
        data = source.load()
        assert len(data.queries) and not set(data.identities) & set(data.queries.ids.tolist())

    def test_a_querys_box_is_one_of_its_identity_in_its_frame(self, source: SceneSource):
        data = source.load()
        for frame, box, one in zip(data.queries.frames, data.queries.boxes, data.queries.ids, strict=True):
            own = data.test.boxes[frame][data.test.ids[frame] == one]
            assert np.isclose(own, box).all(axis=1).any()

    def test_a_gallery_has_each_frame_once(self, source: SceneSource):
        data = source.load()
        for i in range(len(data.queries)):
            gallery = data.queries.gallery(i, len(data.test))
            assert gallery.dtype == np.int64 and len(set(gallery.tolist())) == len(gallery) > 0

    def test_labels_are_places_among_the_identities(self, source: SceneSource):
        data = source.load()
        assert list(data.identities) == sorted(set(data.identities)) and len(data.identities)
        for labels, ids in zip(labels_of(data.train.ids, data.identities), data.train.ids, strict=True):
            assert [data.identities[label] if label >= 0 else -1 for label in labels] == ids.tolist()

    def test_images_are_rgb_and_names_are_unique(self, source: SceneSource):
        for split in source.load().splits.values():
            assert split.images.read(len(split) - 1).mode == "RGB"
            assert len({split.images.name(i) for i in range(len(split))}) == len(split)

    def test_loading_again_gives_the_same(self, source: SceneSource):
        one, other = source.load(), source.load()
        for a, b in zip(one.splits.values(), other.splits.values(), strict=True):
            assert all(map(np.array_equal, a.all_boxes, b.all_boxes))
            assert a.images.read(0).tobytes() == b.images.read(0).tobytes()

    def test_other_counts_than_published_are_an_error_where_strict(self, source: SceneSource):
        if source.published():
            with pytest.raises(ValueError, match="does not have the published counts.*train_frames must be"):
                replace(source, strict=True).load()


@quiet
class TestPRW:
    def test_rows_become_corners_whatever_their_key_and_type(self, tree: Tree):
        train = PRW(root=tree("prw")).load().train
        assert train.boxes[0].tolist() == [[5, 5, 15, 35], [40, 4, 52, 40]] and train.ids[0].tolist() == [1, -1]
        assert train.boxes[1].tolist() == [[60, 10, 75, 45], [10, 8, 19, 38]]
        assert train.boxes[2][0].tolist() == [-3, 5, 9, 35], "clipped where images are decoded, not here"
        assert len(train.boxes[3]) == 0 and train.cameras.tolist() == [1, 2, 1, 2, 1]

    def test_numbers_of_two_bytes_do_not_overflow(self, tree: Tree):
        root = tree("prw") / "PRW-v16.04.20"
        table = np.array([[1, 65000, 5, 1000, 30]], dtype=np.uint16)
        savemat(root / "annotations" / "c1s1_000001.jpg.mat", {"box_new": table})
        assert PRW(root=root).load().train.boxes[0].tolist() == [[65000, 5, 66000, 35]]

    def test_an_identity_twice_in_a_frame_stays(self, tree: Tree):
        assert PRW(root=tree("prw")).load().test.ids[2].tolist() == [4, 4]

    def test_identities_may_be_shared_but_for_those_of_queries(self, tree: Tree):
        root = tree("prw")
        assert PRW(root=root).load().counts()["shared_identities"] == 1
        file = root / "PRW-v16.04.20" / "query_info.txt"
        file.write_text(file.read_text() + "\n2 40 4 12 36 c1s2_000001\n")
        with pytest.raises(ValueError, match="no identity that a query asks for may be trained on, but 2 are"):
            PRW(root=root).load()

    def test_flat_boxes_are_left_out_and_counted(self, tree: Tree):
        with pytest.warns(UserWarning, match="1 boxes without width or height are left out: .*c1s1_000005"):
            assert PRW(root=tree("prw")).load().train.ids[4].tolist() == [5, -1]

    @pytest.mark.parametrize("end", [b"\n", b"\r\n", b"\r\n\r\n"])
    def test_line_ends_do_not_matter(self, tree: Tree, end: bytes):
        root = tree("prw")
        file = root / "PRW-v16.04.20" / "query_info.txt"
        before = PRW(root=root).load().queries
        file.write_bytes(file.read_bytes().replace(b"\r\n", end) + end)
        after = PRW(root=root).load().queries
        assert np.array_equal(after.boxes, before.boxes) and np.array_equal(after.frames, before.frames)

    @pytest.mark.parametrize(
        ("line", "problem"),
        [
            ("3 5 5 10 30", "query_info.txt, line 4"),
            ("3 5 5 ten 30 c1s2_000001", "query_info.txt, line 4"),
            ("-2 5 5 10 30 c1s2_000001", "query_info.txt, line 4"),
            ("3 5 5 0 30 c1s2_000001", "a width and a height above 0; not so in query_info.txt, line 4"),
            ("3 5 5 10 30 c1s2_999999", r"these are none: c1s2_999999 \(query_info.txt, line 4\)"),
            ("3 5 5 10 30 c1s1_000001", r"these are none: c1s1_000001 \("),
        ],
    )
    def test_a_query_that_cannot_be_is_named(self, tree: Tree, line: str, problem: str):
        root = tree("prw")
        file = root / "PRW-v16.04.20" / "query_info.txt"
        file.write_text(file.read_text() + "\n" + line)
        with pytest.raises(ValueError, match=problem):
            PRW(root=root).load()

    @pytest.mark.parametrize(
        ("content", "problem"),
        [
            ({"boxes": np.zeros((1, 5))}, "must have the entry box_new or anno_file or anno_previous; it has 'boxes'"),
            ({"box_new": np.zeros((2, 4))}, r"box_new must have rows of five numbers, id x y w h; it has \(2, 4\)"),
            ({"box_new": np.array(["a"])}, "five numbers"),
            ({"box_new": np.array([[1, np.nan, 5, 10, 30]])}, r"finite ones; got \[1.0, nan"),
            ({"box_new": np.array([[1.5, 5, 5, 10, 30]])}, "identities must be whole numbers"),
            ({"box_new": np.array([[1e30, 5, 5, 10, 30]])}, r"whole numbers below 2\*\*53 .* got \[1e\+30, 5.0"),
        ],
    )
    def test_an_annotation_that_does_not_parse_is_named(self, tree: Tree, content: dict, problem: str):
        root = tree("prw")
        savemat(root / "PRW-v16.04.20" / "annotations" / "c2s1_000002.jpg.mat", content)
        with pytest.raises(ValueError, match=rf"c2s1_000002.jpg.mat.*{problem}"):
            PRW(root=root).load()

    @pytest.mark.parametrize("size", [0, 60, 130, 200])
    def test_a_damaged_annotation_is_named(self, tree: Tree, size: int):
        file = tree("prw") / "PRW-v16.04.20" / "annotations" / "c2s1_000002.jpg.mat"
        file.write_bytes(file.read_bytes()[:size])
        with pytest.raises(ValueError, match=r"c2s1_000002.jpg.mat must (be|have)"):
            PRW(root=file.parents[1]).load()

    @pytest.mark.parametrize("name", ["frames/c1s1_000003.jpg", "annotations/c1s1_000003.jpg.mat", "frame_test.mat"])
    def test_what_is_missing_is_named(self, tree: Tree, name: str):
        root = tree("prw") / "PRW-v16.04.20"
        (root / name).unlink()
        with pytest.raises(ValueError, match=f"missing.*{Path(name).name}|{name}.*missing"):
            PRW(root=root).load()

    @pytest.mark.parametrize(
        ("names", "problem"),
        [
            (["c1s1_000001", "holiday"], 'such as c1s1_001051, not "holiday"'),
            (["c1s1_000001", "c1s1_000001.jpg"], "must list a frame once, but lists again c1s1_000001"),
            (["c1s1_000001", "c1s2_000001"], "both have c1s2_000001"),
        ],
    )
    def test_lists_of_frames_are_checked(self, tree: Tree, names: list[str], problem: str):
        root = tree("prw") / "PRW-v16.04.20"
        savemat(root / "frame_train.mat", {"img_index_train": np.array(names, dtype=object)[:, None]})
        with pytest.raises(ValueError, match=problem):
            PRW(root=root).load()

    def test_data_without_a_box_to_train_on_are_an_error(self, tree: Tree):
        root = tree("prw") / "PRW-v16.04.20"
        savemat(root / "frame_train.mat", {"img_index_train": np.array(["c2s1_000004"], dtype=object)[:, None]})
        with pytest.raises(ValueError, match="PRW needs a box to train on, and has none"):
            PRW(root=root).load()


@quiet
class TestCUHKSYSU:
    def test_frames_are_those_of_the_pool_and_the_others(self, tree: Tree):
        data = CUHKSYSU(root=tree("cuhk_sysu")).load()
        assert [Path(data.train.images.name(i)).name for i in range(3)] == ["s1.jpg", "s2.jpg", "s3.jpg"]
        assert [ids.tolist() for ids in data.train.ids] == [[0, -1], [1, 0], []]
        assert [Path(data.test.images.name(i)).name for i in range(4)] == ["s5.jpg", "s4.jpg", "s6.jpg", "s7.jpg"]
        assert [ids.tolist() for ids in data.test.ids] == [[2, 2], [2, -1], [3, -1], [3]]
        assert data.test.boxes[0].tolist() == [[6, 5, 16, 35], [50, 5, 60, 35]] and data.test.cameras is None

    def test_a_frame_is_once_in_a_gallery_and_the_own_one_stays(self, tree: Tree):
        queries = CUHKSYSU(root=tree("cuhk_sysu")).load().queries
        assert queries.frames.tolist() == [1, 2] and queries.ids.tolist() == [2, 3]
        assert [gallery.tolist() for gallery in queries.galleries] == [[0, 3], [3, 2]]

    def test_without_a_gallery_size_all_frames_but_the_own_one_are_searched(self, tree: Tree):
        queries = CUHKSYSU(root=tree("cuhk_sysu"), gallery_size=None).load().queries
        assert queries.galleries is None and queries.gallery(0, 4).tolist() == [0, 2, 3]

    def test_a_box_that_images_mat_does_not_list_is_added_and_counted(self, tree: Tree):
        root = tree("cuhk_sysu")
        file = root / "dataset" / "annotation" / "Images.mat"
        listed = loadmat(file)["Img"]
        listed[0, 6]["box"] = listed[0, 0]["box"]
        savemat(file, {"Img": listed})
        with pytest.warns(UserWarning, match="1 boxes of the protocol .* are added: s7.jpg"):
            data = CUHKSYSU(root=root).load()
        assert data.test.ids[3].tolist() == [-1, -1, 3]

    @pytest.mark.parametrize(
        ("name", "content", "problem"),
        [
            ("pool.mat", {"pool": np.array(["s5.jpg", "s99.jpg"], dtype=object)}, "does not list s99.jpg"),
            ("pool.mat", {"pool": np.array(["s5.jpg", "s4.jpg"], dtype=object)}, "query 0.*s7.jpg"),
            ("pool.mat", {"pool": np.array(["s5.jpg", "s5.jpg"], dtype=object)}, "once; 1 are listed again"),
            ("Images.mat", {"Img": np.zeros((2, 2))}, '"Img" must be structs of imname, nAppear and box'),
            ("test/train_test/Train.mat", {"Train": np.zeros((2, 1))}, '"Train" must be cells'),
            ("test/train_test/TestG100.mat", {"TestG100": np.zeros((2, 1))}, '"TestG100" must be structs'),
            ("test/train_test/TestG100.mat", {"TestG50": np.zeros((2, 1))}, "must have the entry TestG100"),
        ],
    )
    def test_a_file_that_is_not_as_it_must_be_is_named(self, tree: Tree, name: str, content: dict, problem: str):
        root = tree("cuhk_sysu")
        savemat(root / "dataset" / "annotation" / name, content)
        with pytest.raises(ValueError, match=f"{Path(name).name}.*{problem}"):
            CUHKSYSU(root=root).load()


class TestSceneList:
    def test_rows_become_frames(self, tree: Tree):
        data = SceneList(file=tree("scenes_csv")).load()
        assert data.train.ids[0].tolist() == [0, -1] and data.train.boxes[1][0].tolist() == [60.5, 10, 75.5, 45]
        assert [len(ids) for ids in data.train.ids] == [2, 2, 0] and [len(ids) for ids in data.test.ids] == [1, 2, 0]
        assert data.queries.ids.tolist() == [2] and data.queries.frames.tolist() == [0]

    @pytest.mark.parametrize(
        ("line", "problem"),
        [
            ("frames/gallery a.png,Eve,1,query,5,5,10,31", "line 12: a query needs .* a row of gallery with the same"),
            ("frames/gallery a.png,Ann,1,query,5,5,10,30", "line 12: a query needs"),
            ("frames/train a.png,Ann,1,query,5,5,10,30", r"frames/train a.png is in both \(lines 2 and 12\)"),
            ("frames/train a.png,Eve,1,gallery,1,5,10,30", r"frames/train a.png is in both \(lines 2 and 12\)"),
            ("frames/gallery a.png,Eve,1,gallery,5,5,10,30", "line 12: this box is listed already, on line 7"),
            ("frames/gallery a.png,Eve,2,gallery,9,5,10,30", "line 12: a frame has one camera.* on line 7"),
            ("frames/gallery a.png,Eve,1,gallery,9,5,ten,30", 'line 12: w must be a number of pixels; got "ten"'),
            ("frames/gallery a.png,Eve,1,gallery,nan,5,9,30", 'line 12: x must be a number of pixels; got "nan"'),
            ("frames/gallery a.png,Eve,1,gallery,9,5,10,", "line 12: the column h is empty"),
            ("frames/gallery a.png,,1,gallery,9,5,10,30", "line 12: the column identity is empty"),
            ("frames/gallery a.png,,1,query,,,,", "line 12: the column identity is empty"),
            ("frames/gallery a.png,Eve,-1,query,5,5,10,30", "line 12: a query needs a known camera; got -1"),
            ("frames/gallery a.png,Eve,1,test,9,5,10,30", 'line 12: split must be one of .*; got "test"'),
            ("frames/nowhere.png,Eve,1,gallery,9,5,10,30", r"missing: .*nowhere.png \(line 12\)"),
            ("./frames/gallery a.png,Eve,1,gallery,9,5,9,30", r"listed again: .*gallery a.png \(line 7; line 12\)"),
        ],
    )
    def test_errors_name_the_line(self, tree: Tree, line: str, problem: str):
        file = tree("scenes_csv")
        file.write_text(file.read_text() + "\n" + line)
        with pytest.raises(ValueError, match=problem):
            SceneList(file=file).load()

    def test_a_list_of_crops_is_told_what_is_missing(self, tree: Tree):
        with pytest.raises(ValueError, match="the header needs the columns path,identity,camera,split,x,y,w,h"):
            SceneList(file=tree("csv")).load()

    def test_the_cameras_may_be_left_out(self, tree: Tree):
        file = tree("scenes_csv")
        rows = [line.split(",") for line in file.read_text().splitlines()]
        file.write_text("\n".join(",".join(row[:2] + row[3:]) for row in rows))
        assert SceneList(file=file).load().train.cameras is None

    @pytest.mark.skipif(not REAL.is_dir(), reason="the real scenes are not on this machine")
    @quiet
    def test_the_same_scenes_in_two_layouts_are_the_same(self):
        one = SceneList(file=REAL / "pets09-s2l1" / "scenes.csv").load()
        other = PRW(root=REAL / "pets09-s2l1").load()
        assert one.counts() == other.counts()
        for a, b in zip(one.splits.values(), other.splits.values(), strict=True):
            assert all(map(np.array_equal, a.all_boxes, b.all_boxes))
        assert np.array_equal(one.queries.boxes, other.queries.boxes)


PRW_NUMBERS = np.array([*range(1, 479), *range(480, 484), 932])
"""PRW's numbers of its training identities, which the labels count from 0."""


def linked(folder: Path, names: list[str]) -> None:
    """Images of these names, all of them one file."""
    folder.mkdir(parents=True)
    Image.new("RGB", (16, 9)).save(folder / "first.jpg")
    for name in names:
        os.link(folder / "first.jpg", folder / name)


def prw_of_labels(root: Path) -> Path:
    """PRW's own layout with all of its boxes, and images that are placeholders."""
    (root / "annotations").mkdir()
    names = []
    for part in ("train", "test"):
        labels = json.loads(gzip.decompress((REAL / "labels" / f"prw_{part}_pid.json.gz").read_bytes()))
        rows: dict[int, list] = {image["id"]: [] for image in labels["images"]}
        for box in labels["annotations"]:
            one = box["person_id"]
            number = -2 if one < 0 else PRW_NUMBERS[one] if part == "train" else one
            rows[box["image_id"]].append([number, *box["bbox"]])
        files = {image["id"]: image["file_name"] for image in labels["images"]}
        for image, name in files.items():
            savemat(root / "annotations" / f"{name}.mat", {"box_new": np.array(rows[image], dtype=np.float64)})
        frames = np.array([name.removesuffix(".jpg") for name in files.values()], dtype=object)[:, None]
        savemat(root / f"frame_{part}.mat", {f"img_index_{part}": frames})
        names += files.values()
    linked(root / "frames", names)
    return root


def cuhk_sysu_of_labels(root: Path, structs: Callable) -> Path:
    """CUHK-SYSU's layout with the real protocol, the boxes that it has, a training frame, and placeholders."""
    folder = root / "annotation" / "test" / "train_test"
    folder.mkdir(parents=True)
    (folder / "TestG100.mat").symlink_to(REAL / "labels" / "TestG100.mat")
    boxes: dict[str, dict[tuple, None]] = {}
    for query, gallery in loadmat(folder / "TestG100.mat")["TestG100"].ravel():
        for scene in (*query.ravel(), *gallery.ravel()):
            boxes.setdefault(str(scene[0][0]), {}).update(dict.fromkeys(map(tuple, scene[1].reshape(-1, 4).tolist())))
    pool = np.array(list(boxes), dtype=object)[:, None]
    boxes["train.jpg"] = {(1, 2, 3, 4): None}
    listed = [
        (name, len(some), structs("idlocate ishard", [(np.array([box], dtype=np.uint16), 0) for box in some]))
        for name, some in boxes.items()
    ]
    savemat(root / "annotation" / "Images.mat", {"Img": structs("imname nAppear box", listed)})
    savemat(root / "annotation" / "pool.mat", {"pool": pool})
    train = np.empty((1, 1), dtype=object)
    scene = structs("imname idlocate ishard", [("train.jpg", np.array([[1, 2, 3, 4]]), 0)])
    train[0, 0] = structs("idname nAppear scene", [("p1", 1, scene)])
    savemat(folder / "Train.mat", {"Train": train})
    linked(root / "Image" / "SSM", list(boxes))
    return root


class Blank:
    """The frames of a split as pictures of one colour each, which is their number; `sizes [F, 2]`: width and height."""

    always_readable = True

    def __init__(self, split: SceneSplit, sizes: np.ndarray) -> None:
        self.names, self.sizes = split.images, sizes

    def __len__(self) -> int:
        return len(self.sizes)

    def name(self, i: int) -> str:
        return self.names.name(i)

    def read(self, i: int) -> Image.Image:
        return Image.new("RGB", tuple(self.sizes[i].tolist()), (i >> 16, i >> 8 & 255, i & 255))


class Knowing(torch.nn.Module):
    """Finds every person where it is, in whatever size it is shown, and knows who it is: a direction for each identity,
    and for each box without one. mistaken: the features are those of other boxes."""

    out_channels = 64

    def __init__(self, data: SceneData, sizes: np.ndarray, mistaken: bool) -> None:
        super().__init__()
        frames, corners, ids = data.test.all_boxes
        self.ends, self.sizes = np.searchsorted(frames, np.arange(len(data.test) + 1)), sizes
        self.corners = np.minimum(corners, np.tile(sizes, 2)[frames]).clip(min=0)
        directions = torch.randn(ids.max() + 1 + len(ids), 64, generator=torch.Generator().manual_seed(0))
        directions = torch.nn.functional.normalize(directions)
        self.asked = directions[data.queries.ids]
        self.features = directions[np.where(ids >= 0, ids, ids.max() + 1 + np.arange(len(ids)))]
        if mistaken:
            self.features = self.features[np.random.default_rng(0).permutation(len(ids))]

    def forward(self, scenes: Scenes | torch.Tensor) -> SceneAnswer | torch.Tensor:
        if isinstance(scenes, torch.Tensor):  # as it is counted and timed
            return scenes.mean()
        colours = scenes.tensors[:, :, 0, 0] * torch.tensor(IMAGENET_STD) + torch.tensor(IMAGENET_MEAN)
        numbers = (255 * colours).round().long() @ torch.tensor([1 << 16, 1 << 8, 1])
        found = tuple(map(self._found, numbers.tolist(), scenes.sizes.numpy()))
        return SceneAnswer(found, tuple(self.asked[places] for places in scenes.labels))

    def _found(self, i: int, shown: np.ndarray) -> Detections:
        mine = slice(self.ends[i], self.ends[i + 1])
        boxes = torch.from_numpy(self.corners[mine] * np.tile(shown[::-1] / self.sizes[i], 2)).float()
        return Detections(boxes, torch.ones(len(boxes)), self.features[mine])


def measured(data: SceneData, sizes: np.ndarray, folder: Path) -> dict:
    """What is measured of a network that knows everyone, and of one that takes them for others, on blank frames."""
    data = replace(data, test=replace(data.test, images=Blank(data.test, sizes)))
    networks = [EvaluatedNetwork(role=role, title=role, net=Knowing(data, sizes, role == "mistaken")) for role in ROLES]
    how = SearchEvaluation(batch_size=64, num_strips=2, num_sheets=2)
    stage = Stage(folder, "evaluate", "", Machine(device="cpu", threads=1), quiet=True)
    return PersonSearchTask().measure(networks, data, SceneSize(short_side=32, long_side=64), how, stage)


ROLES = ("knowing", "mistaken")


@pytest.mark.slow
@pytest.mark.skipif(not REAL.is_dir(), reason="the real labels are not on this machine")
@quiet
class TestPublished:
    def test_prw_has_the_published_counts(self, tmp_path: Path):
        root = prw_of_labels(tmp_path)
        (root / "prwmini_query_info.txt").symlink_to(REAL / "labels" / "prwmini_query_info.txt")
        data = PRWMini(root=root, strict=True).load()
        assert data.counts() == PRWMini.PUBLISHED
        twins = [sum(len(set(known)) < len(known) for ids in split.ids for known in [ids[ids >= 0].tolist()])
                 for split in data.splits.values()]  # fmt: skip
        assert twins == [10, 3]

    def test_cuhk_sysu_has_the_published_queries(self, tmp_path: Path, structs: Callable):
        root = cuhk_sysu_of_labels(tmp_path, structs)
        data = CUHKSYSU(root=root).load()
        assert (len(data.queries), len(data.test)) == (2_900, 6_978)
        sets = [set(gallery.tolist()) for gallery in data.queries.galleries]
        found = zip(data.queries.ids, sets, strict=True)
        matches = sum((data.test.ids[i] == one).sum() for one, gallery in found for i in gallery)
        assert matches == 5_447 - 1 + 1, "query 1250 lists a box twice; the own frame of 493 has its own box, too"
        assert [len(gallery) for gallery in sets].count(99) == 4
        own = [i for i, gallery in enumerate(sets) if data.queries.frames[i] in gallery]
        assert own == [493, 2132]

    @pytest.mark.filterwarnings("ignore:110 boxes that reach out of their frames are clipped")
    def test_prw_is_measured(self, tmp_path: Path):
        """Its own queries are not among the labels: a box of each person in each camera, here the first, is as many."""
        (root := tmp_path / "prw").mkdir()
        names = ("query_info.txt", "prwmini_query_info.txt")
        (prw_of_labels(root) / names[0]).symlink_to(REAL / "labels" / names[1])
        (root / names[1]).symlink_to(REAL / "labels" / names[1])
        mini = PRWMini(root=root).load()
        boxes, cameras = mini.test.all_boxes, mini.test.cameras
        own = np.setdiff1d(boxes.ids, [-1, *mini.identities])
        asked = np.unique(np.where(np.isin(boxes.ids, own), 10 * boxes.ids + cameras[boxes.frames], -1), True)[1][1:]
        queries = SearchQueries(frames=boxes.frames[asked], boxes=boxes.corners[asked], ids=boxes.ids[asked])
        sizes = np.where(cameras[:, None] == 6, (720, 576), (1920, 1080))
        twins = {
            one
            for ids in mini.test.ids
            for one, number in zip(*np.unique(ids[ids >= 0], return_counts=True), strict=True)
            if number > 1
        }
        for number, data in enumerate((mini, replace(mini, queries=queries))):
            (results := tmp_path / str(number)).mkdir()
            metrics = measured(data, sizes, results)
            protocol, (knowing, mistaken) = metrics["protocol"], metrics["rows"]
            assert (protocol["num_queries"], protocol["num_frames"]) == (len(data.queries), 6_112)
            assert protocol["num_boxes"] == 25_062
            assert [data.counts()[key] for key in ("queries", "query_identities")] == [[30, 30], [2_057, 450]][number]
            assert knowing["detection_AP"] == mistaken["detection_recall"] == knowing["rank1"] == 1
            assert mistaken["mAP"] < 0.02
            found = Queries.load(results / "queries" / "knowing.csv")
            assert set(found.ids[found.average_precision < 1].tolist()) <= twins, "the second of two boxes is wrong"
            assert knowing["mAP"] > 0.999

    def test_cuhk_sysu_is_measured(self, tmp_path: Path, structs: Callable):
        """Three queries have two boxes of their person in a frame, and the frame of another has its own box besides:
        the second one is wrong. All else is found at once."""
        root, results = tmp_path / "cuhk", tmp_path / "results"
        for folder in (root, results):
            folder.mkdir()
        data = CUHKSYSU(root=cuhk_sysu_of_labels(root, structs)).load()
        needed = [boxes[:, 2:].max(axis=0) for boxes in data.test.boxes]
        sizes = np.maximum((800, 600), np.ceil(needed)).astype(int)
        metrics = measured(data, sizes, results)
        protocol, (knowing, mistaken) = metrics["protocol"], metrics["rows"]
        assert (protocol["num_queries"], protocol["num_skipped"], protocol["num_frames"]) == (2_900, 0, 6_978)
        for row in (knowing, mistaken):
            assert row["detection_AP"] == row["detection_recall"] == 1
        assert knowing["rank1"] == 1 and mistaken["rank1"] < 0.05 and mistaken["mAP"] < 0.1
        precision = Queries.load(results / "queries" / "knowing.csv").average_precision
        assert np.flatnonzero(precision < 1).tolist() == [493, 1633, 1997, 2561]
        assert knowing["mAP"] == pytest.approx(precision.mean()) and precision.min() == pytest.approx(5 / 6)
