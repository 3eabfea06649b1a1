"""Market-1501, DukeMTMC-reID and CUHK03: folders of images whose names tell identity and camera."""

import json
import os
from collections.abc import Callable
from pathlib import Path

import h5py
import numpy as np
import pytest
from PIL import Image
from scipy.io import loadmat, savemat

from nas.data.sets import cuhk03
from nas.data.sets.cuhk03 import CUHK03
from nas.data.sets.dukemtmc import DukeMTMC
from nas.data.sets.folders import MARKET_NAME, named
from nas.data.sets.market1501 import Market1501
from nas.errors import SaveError

pytestmark = pytest.mark.filterwarnings("ignore:.* does not have the published counts")  # these trees are small
Tree = Callable[..., Path]
CONFIG = "cuhk03_new_protocol_config_detected.mat"


class TestNames:
    """Identity and camera of the names that the real sets have, and of those that users give to their own images."""

    @pytest.mark.parametrize(
        ("name", "identity", "camera"),
        [
            ("0002_c1s1_000451_03.jpg", 2, 1),
            ("-1_c6s4_001051_00.jpg", -1, 6),
            ("0000_c3s2_1_01.jpg.jpg", 0, 3),
            ("0001_c2_f0046182.jpg", 1, 2),
            ("0001_c1_1.png", 1, 1),
            ("0004_c2_1_002_10.png", 4, 2),
            ("0002_c10_000451_03.jpg", 2, 10),
            ("0002_c12s10_000451_03.jpg", 2, 12),
            ("0002_c002_00030600_0.jpg", 2, 2),
            ("0776_c020_00030600_0.jpg", 776, 20),
            ("0002_c000128_1.jpg", 2, 128),
            ("0002_C11_1.jpg", 2, 11),
            ("0002_c7.jpg", 2, 7),
            ("-2_c1s1_1_00.jpg", -1, 1),
            (f"{'9' * 18}_c{'9' * 18}_1.jpg", 10**18 - 1, 10**18 - 1),
        ],
    )
    def test_numbers_are_read_whole(self, name: str, identity: int, camera: int):
        split = named([Path(name)], MARKET_NAME, "Mine", "0002_c1s1_000451_03.jpg")
        assert split.ids.tolist() == [identity] and split.cameras.tolist() == [camera]

    @pytest.mark.parametrize(
        "name", [f"{'9' * 20}_c1s1_0.jpg", f"-{'9' * 19}_c1_0.jpg", f"0001_c{'1' * 19}_0.jpg", "0001_c_1.jpg"]
    )
    @pytest.mark.parametrize("kind", [Market1501, DukeMTMC])
    def test_numbers_that_do_not_fit_are_named_with_their_file(self, tree: Tree, kind: type, name: str):
        root = tree("market1501") / "Market-1501-v15.09.15"
        (root / "query" / name).write_bytes(b"")
        with pytest.raises(ValueError, match=f"at most 18 digits, as in 000.*remove or rename .*{name}"):
            kind(root=root).listed()

    def test_cameras_of_two_digits_are_different_ones(self, tree: Tree):
        root = tree("market1501") / "Market-1501-v15.09.15"
        for old, new in (("0001_c2s1_1_01", "0001_c11s1_1_01"), ("0003_c3s1_1_01", "0003_c12s1_1_01")):
            (root / "bounding_box_test" / f"{old}.jpg").rename(root / "bounding_box_test" / f"{new}.jpg")
        data = Market1501(root=root).load()
        assert data.gallery.cameras.tolist() == [2, 2, 11, 12] and data.counts()["cameras"] == 4


class TestEndings:
    @pytest.fixture
    def gallery(self, tree: Tree) -> Path:
        return tree("market1501") / "Market-1501-v15.09.15" / "bounding_box_test"

    @pytest.mark.parametrize(
        "ending",
        [".webp", ".tif", ".tiff", ".gif", ".jfif", ".jp2", ".ppm", ".pgm", ".bmp", ".JPG", ".jpe", ".tga"],
    )
    def test_every_ending_that_pillow_decodes_is_read(self, gallery: Path, ending: str):
        Image.new("RGB", (8, 16), (90, 40, 200)).save(gallery / f"0003_c4s1_1_02{ending}")
        data = Market1501(root=gallery.parent).load()
        assert data.gallery.ids.tolist() == [-1, 0, 1, 3, 3] and data.gallery.cameras.tolist()[-1] == 4
        assert data.gallery.images.read(4).size == (8, 16)

    def test_what_is_no_image_by_its_ending_is_one_warning_for_all_folders(self, gallery: Path):
        for number in range(11):
            (gallery / f"0003_c4s1_1_{number:02d}.heic").write_bytes(b"")
        (gallery.parent / "query" / "features.h5").write_bytes(b"")
        (gallery.parent / "query" / "more").mkdir()
        with pytest.warns(UserWarning, match="left out") as warned:
            data = Market1501(root=gallery.parent).load()
        [message] = [str(one.message) for one in warned if "left out" in str(one.message)]
        assert message.startswith("Market-1501: 13 files or folders") and message.endswith(", ... (13 in all)")
        assert "features.h5, " in message and "/more, " in message and "convert those that are images" in message
        assert len(data.gallery) == 4

    @pytest.mark.parametrize("name", [".hidden.jpg", "._0001_c1s1_1_01.jpg", ".DS_Store", "Thumbs.db", "desktop.ini"])
    def test_hidden_files_and_those_of_file_managers_are_nothing(self, gallery: Path, name: str):
        (gallery / name).write_bytes(b"")
        assert len(Market1501(root=gallery.parent).load().gallery) == 4

    def test_links_are_followed_and_a_broken_one_is_named(self, gallery: Path, tmp_path: Path):
        (gallery / "0003_c3s1_1_01.jpg").rename(tmp_path / "elsewhere")
        (gallery / "0003_c3s1_1_01.jpg").symlink_to(tmp_path / "elsewhere")
        data = Market1501(root=gallery.parent).load()
        assert data.gallery.images.read(3).size == (8, 16)
        (tmp_path / "elsewhere").unlink()
        with pytest.raises(ValueError, match="cannot read the image .*0003_c3s1_1_01.jpg"):
            Market1501(root=gallery.parent).load().gallery.images.read(3)

    def test_distractors_in_linked_folders_are_read_once_and_a_circle_ends(self, tree: Tree, tmp_path: Path):
        folder = tree("distractors")
        (folder / "part").rename(tmp_path / "elsewhere")
        (folder / "part").symlink_to(tmp_path / "elsewhere")
        (folder / "same").symlink_to(tmp_path / "elsewhere")
        (tmp_path / "elsewhere" / "circle").symlink_to(folder)
        (folder / ".thumbnails").mkdir()
        (folder / ".thumbnails" / "00000001.jpg").write_bytes(b"")
        (folder / "readme.txt").write_bytes(b"")
        with pytest.warns(UserWarning, match=r"500k: 1 files or folders .* left out, .*readme.txt$"):
            data = Market1501(root=tree("market1501"), distractors=folder).load()
        names = [data.gallery.images.name(i) for i in range(4, len(data.gallery))]
        assert names == [str(folder / one) for one in ("00000001.jpg", "00000002.jpg", "part/0007_c1s1_000451_03.jpg")]

    def test_a_folder_without_images_says_what_it_has(self, gallery: Path):
        for path in gallery.iterdir():
            path.rename(path.with_suffix(".heic"))
        with pytest.raises(ValueError, match="bounding_box_test.* contains no image .*: it has -1_c2s1_1_01.heic"):
            Market1501(root=gallery.parent).load()

    def test_a_folder_that_cannot_be_listed_is_named(self, gallery: Path):
        gallery.rename(gallery.with_name("moved"))
        gallery.write_bytes(b"")
        with pytest.raises(ValueError, match='folder ".*bounding_box_test" must be one to read, but: Not a directory'):
            Market1501(root=gallery.parent).load()


class TestMarket1501:
    @pytest.fixture
    def root(self, tree: Tree) -> Path:
        return tree("market1501") / "Market-1501-v15.09.15"

    def test_names_become_identities_and_cameras(self, tree: Tree):
        data = Market1501(root=tree("market1501")).load()
        assert data.train.ids.tolist() == [2, 2, 7, 7, 11, 11] and data.train.cameras.tolist() == [1, 2] * 3
        assert data.gallery.ids.tolist() == [-1, 0, 1, 3], "junk and distractors stay, in the order of the names"

    def test_root_may_be_the_folder_itself(self, root: Path):
        assert len(Market1501(root=root).load().train) == 6

    def test_junk_is_left_out_of_training_and_other_files_are_ignored(self, root: Path):
        train = root / "bounding_box_train"
        os.link(root / "query" / "0001_c1s1_001051_00.jpg", train / "-1_c1s1_1_01.jpg")
        for name in ("Thumbs.db", "._0002_c1s1_000451_03.jpg"):
            (train / name).write_bytes(b"")
        assert Market1501(root=root).load().identities == (2, 7, 11)

    def test_distractors_join_the_gallery_as_identity_0_of_no_querys_camera(self, tree: Tree):
        plain = Market1501(root=tree("market1501")).load()
        data = Market1501(root=tree("market1501"), distractors=tree("distractors")).load()
        assert data.gallery.ids.tolist() == [*plain.gallery.ids.tolist(), 0, 0, 0]
        assert data.gallery.cameras.tolist() == [*plain.gallery.cameras.tolist(), -1, -1, -1]
        names = [Path(data.gallery.images.name(i)).name for i in range(4, 7)]
        assert names == ["00000001.jpg", "00000002.jpg", "0007_c1s1_000451_03.jpg"]
        assert data.train.ids.tolist() == plain.train.ids.tolist()

    def test_distractors_must_be_a_folder_of_images(self, tree: Tree, tmp_path: Path):
        with pytest.raises(ValueError, match="distractors must be the folder.*nowhere"):
            Market1501(root=tree("market1501"), distractors=tmp_path / "nowhere").load()
        (tmp_path / "empty").mkdir()
        with pytest.raises(ValueError, match="distractors: the folder .*empty.* contains no image"):
            Market1501(root=tree("market1501"), distractors=tmp_path / "empty").load()

    def test_missing_folder_says_what_was_found(self, tmp_path: Path):
        (tmp_path / "query").mkdir()
        with pytest.raises(ValueError, match=r'"bounding_box_train" is missing.*contains query/'):
            Market1501(root=tmp_path).load()
        with pytest.raises(ValueError, match="nowhere.* does not exist"):
            Market1501(root=tmp_path / "nowhere").load()

    def test_folder_without_images_is_an_error(self, root: Path):
        for path in (root / "query").iterdir():
            path.unlink()
        with pytest.raises(ValueError, match="contains no image"):
            Market1501(root=root).load()

    @pytest.mark.parametrize("name", ["holiday.jpg", "0001_1.jpg", "1-2_c1.jpg", "٣_c1.jpg"])
    def test_strange_file_is_named(self, root: Path, name: str):
        (root / "query" / name).write_bytes(b"")
        with pytest.raises(ValueError, match=f"Market-1501: .*{name}"):
            Market1501(root=root).load()

    def test_jpeg_named_png_is_read(self, root: Path):
        path = root / "query" / "0001_c1s1_001051_00.jpg"
        expected = np.asarray(Image.open(path))
        path.rename(path.with_suffix(".png"))
        data = Market1501(root=root).load()
        assert data.query.images.name(0).endswith(".png")
        assert np.array_equal(data.query.images.read(0), expected)


class TestDukeMTMC:
    def test_names_become_identities_and_cameras(self, tree: Tree):
        data = DukeMTMC(root=tree("dukemtmc")).load()
        assert data.train.ids.tolist() == [1, 1, 14, 14] and data.train.cameras.tolist() == [2, 5, 1, 8]
        assert data.counts()["gallery_distractors"] == 1

    def test_strange_file_is_named_with_this_sets_example(self, tree: Tree):
        (tree("dukemtmc") / "DukeMTMC-reID" / "query" / "holiday.jpg").write_bytes(b"")
        with pytest.raises(ValueError, match="DukeMTMC-reID: .*0001_c2_f0046182.jpg; .*holiday.jpg"):
            DukeMTMC(root=tree("dukemtmc")).load()


class TestCUHK03:
    @pytest.fixture
    def source(self, tree: Tree, tmp_path: Path) -> CUHK03:
        return CUHK03(root=tree("cuhk03 mat"), cache=tmp_path / "cache")

    @pytest.fixture
    def conversions(self, monkeypatch: pytest.MonkeyPatch) -> list[Path]:
        """The folders that were converted into, one for each conversion."""
        done, convert = [], cuhk03.convert
        monkeypatch.setattr(cuhk03, "convert", lambda *args: (convert(*args), done.append(args[-1])))
        return done

    def test_folders_are_read_as_market1501s(self, tree: Tree):
        data = CUHK03(root=tree("cuhk03"), boxes="labeled").load()
        assert data.train.ids.tolist() == [3, 3, 4, 4] and data.train.cameras.tolist() == [1, 2, 1, 2]
        assert data.name == "CUHK03-NP, labeled" and "/labeled/" in data.query.images.name(0)

    @pytest.mark.parametrize("boxes", ["labeled", "detected"])
    def test_converted_images_keep_every_pixel(self, source: CUHK03, tmp_path: Path, boxes: str):
        data = CUHK03(root=source.root, boxes=boxes, cache=tmp_path / "cache").load()
        protocol = loadmat(source.root / f"cuhk03_new_protocol_config_{boxes}.mat")
        with h5py.File(source.root / "cuhk-03.mat") as mat:
            for name, split in (("train", data.train), ("query", data.query), ("gallery", data.gallery)):
                expected = set()
                for place in protocol[f"{name}_idx"].ravel() - 1:
                    pair, person, _, column = map(int, protocol["filelist"][place, 0].item()[:-4].split("_"))
                    pixels = mat[mat[mat[boxes][0, pair - 1]][column - 1, person - 1]][()].T
                    identity, camera = protocol["labels"][place, 0], protocol["camId"][place, 0]
                    expected.add((int(identity), int(camera), pixels.shape, pixels.tobytes()))
                images = [np.asarray(split.images.read(i)) for i in range(len(split))]
                shapes = [one.shape for one in images]
                found = zip(split.ids.tolist(), split.cameras.tolist(), shapes, images, strict=True)
                assert {(*row, image.tobytes()) for *row, image in found} == expected

    def test_second_load_uses_the_first_ones_images(self, source: CUHK03, conversions: list):
        source.load(), source.load()
        assert len(conversions) == 1

    def test_manifest_tells_sources_and_files(self, source: CUHK03):
        folder = Path(source.load().query.images.name(0)).parents[1]
        manifest = json.loads((folder / "manifest.json").read_text())
        assert [Path(one["path"]).name for one in manifest["sources"]] == ["cuhk-03.mat", CONFIG]
        assert manifest["sources"][0]["size"] == (source.root / "cuhk-03.mat").stat().st_size
        assert len(manifest["sources"][0]["sha256"]) == 64 and manifest["version"] == 1
        assert manifest["counts"] == {"bounding_box_test": 12, "bounding_box_train": 16, "query": 4}
        assert manifest["files"]["query"] == sorted(path.name for path in (folder / "query").iterdir())

    def test_copied_source_is_the_same_and_a_changed_one_is_converted_again(self, source: CUHK03, conversions: list):
        source.load()
        os.utime(source.root / "cuhk-03.mat", (1, 1))
        source.load()
        assert len(conversions) == 1
        config = source.root / CONFIG
        content = {name: value for name, value in loadmat(config).items() if not name.startswith("__")}
        savemat(config, content | {"query_idx": content["query_idx"][:1]})
        assert len(source.load().query) == 1 and len(conversions) == 2

    def test_unfinished_conversion_is_done_again(self, source: CUHK03, monkeypatch: pytest.MonkeyPatch):
        class Killed(BaseException):
            pass

        def killed(mat: Path, config: Path, boxes: str, folder: Path) -> None:
            (folder / "query").mkdir()
            (folder / "query" / "0009_c1_half.png").write_bytes(b"half")
            raise Killed

        with monkeypatch.context() as patch, pytest.raises(Killed):
            patch.setattr(cuhk03, "convert", killed)
            source.load()
        assert len(source.load().query) == 4

    def test_lost_image_is_converted_again(self, source: CUHK03, conversions: list):
        Path(source.load().query.images.name(2)).unlink()
        assert len(source.load().query) == 4 and len(conversions) == 2

    @pytest.mark.parametrize(
        "change",
        [
            lambda manifest: b"{",
            lambda manifest: b"[]",
            lambda manifest: b"[" * 10_000,
            lambda manifest: json.dumps({"manifest_version": 3}).encode(),
            lambda manifest: json.dumps(manifest | {"version": [1]}).encode(),
            lambda manifest: json.dumps(manifest | {"files": 3}).encode(),
            lambda manifest: json.dumps(manifest | {"sources": {"a": 1, "b": 2}}).encode(),
            lambda manifest: json.dumps(manifest | {"sources": [{}, {}]}).encode(),
            lambda manifest: json.dumps(manifest | {"sources": None}).encode(),
        ],
    )
    def test_a_manifest_that_is_none_of_ours_is_written_again(self, source: CUHK03, conversions: list, change):
        path = Path(source.load().query.images.name(0)).parents[1] / "manifest.json"
        before = path.read_bytes()
        path.write_bytes(change(json.loads(before)))
        assert len(source.load().query) == 4 and len(conversions) == 2 and path.read_bytes() == before

    @pytest.mark.parametrize("kind", ["external", "virtual", "claimed", "link", "soft link", "numbers", "group"])
    def test_what_is_not_in_the_file_itself_is_not_read(self, source: CUHK03, tmp_path: Path, kind: str):
        (secret := tmp_path / "secret").write_bytes(b"s" * 300)
        h5py.File(tmp_path / "other.h5", "w").create_dataset("x", data=np.zeros((3, 9, 12), np.uint8)).file.close()
        with h5py.File(source.root / "cuhk-03.mat", "r+") as mat:
            boxes, cells = mat["detected"], mat["#refs#/detected0"]
            if kind == "external":
                cells[0, 0] = mat.create_dataset("a", (3, 10, 10), "u1", external=[(str(secret), 0, 300)]).ref
            elif kind == "virtual":
                layout = h5py.VirtualLayout((3, 9, 12), "u1")
                layout[:] = h5py.VirtualSource(str(tmp_path / "other.h5"), "x", (3, 9, 12))
                cells[0, 0] = mat.create_virtual_dataset("a", layout).ref
            elif kind == "claimed":
                cells[0, 0] = mat.create_dataset("a", (3, 200_000, 200_000), "u1").ref
            else:
                del boxes, mat["detected"]
                mat["detected"] = {
                    "link": h5py.ExternalLink(str(tmp_path / "other.h5"), "/x"),
                    "soft link": h5py.SoftLink("/nowhere"),
                    "numbers": np.arange(2.0),
                    "group": mat["#refs#"],
                }[kind]
        with pytest.raises(ValueError, match=r"cuhk-03\.mat (must h|has no image)"):
            source.load()

    def test_cache_goes_where_the_user_keeps_caches(self, source: CUHK03, monkeypatch: pytest.MonkeyPatch):
        monkeypatch.setenv("XDG_CACHE_HOME", str(source.cache))
        name = Path(CUHK03(root=source.root).load().query.images.name(0))
        assert name.is_relative_to(source.cache / "nas-reid")

    def test_cache_that_cannot_be_written_is_an_error(self, source: CUHK03, tmp_path: Path):
        (tmp_path / "file").write_bytes(b"")
        with pytest.raises(SaveError, match="cache folder .*file.*set `cache` to another"):
            CUHK03(root=source.root, cache=tmp_path / "file").load()

    def test_original_files_may_lie_in_cuhk03_release(self, source: CUHK03):
        (source.root / "cuhk03_release").mkdir()
        (source.root / "cuhk-03.mat").rename(source.root / "cuhk03_release" / "cuhk-03.mat")
        assert len(source.load().query) == 4

    def test_neither_layout_says_what_is_needed(self, source: CUHK03, tmp_path: Path):
        (source.root / CONFIG).unlink()
        with pytest.raises(ValueError, match=f'"{CONFIG}" is missing: .*contains cuhk-03.mat'):
            source.load()
        with pytest.raises(ValueError, match='needs the folder detected/.* or cuhk-03.mat.*"cuhk-03.mat" is missing'):
            CUHK03(root=tmp_path / "cache").load()
        with pytest.raises(ValueError, match="boxes must be one of labeled, detected, not 'drawn'"):
            CUHK03(root=tmp_path, boxes="drawn")

    @pytest.mark.parametrize("name", ["cuhk-03.mat", CONFIG])
    @pytest.mark.parametrize("content", [b"", b"no MATLAB file" * 20])
    def test_damaged_file_is_named(self, source: CUHK03, name: str, content: bytes):
        (source.root / name).write_bytes(content)
        with pytest.raises(ValueError, match=f"{name} must be"):
            source.load()

    @pytest.mark.parametrize(
        ("change", "problem"),
        [
            ({"query_idx": [[0]]}, r"query_idx must be within 1 \.\. 32, but has 0"),
            ({"query_idx": [[33]]}, r"query_idx must be within 1 \.\. 32, but has 33"),
            ({"labels": np.full((32, 1), np.nan)}, f"{CONFIG}: labels and camId must be whole numbers, not nan and"),
            ({"camId": np.full((32, 1), 1.5)}, f"{CONFIG}: labels and camId must be whole numbers, not .* and 1.5"),
            ({"labels": [[1]]}, r"one length, not \[1, 32\]"),
            ({"filelist": np.array(["holiday.png"] * 32, dtype=object)}, 'not "holiday.png"'),
            ({"filelist": np.array(["1_001_1_02.png"] * 32, dtype=object)}, "no image of pair 1, person 1, column 2"),
            ({"filelist": np.array(["3_001_1_01.png"] * 32, dtype=object)}, "no image of pair 3, person 1, column 1"),
            ({"camId": None}, "must have the entry camId"),
        ],
    )
    def test_protocol_that_does_not_fit_is_explained(self, source: CUHK03, change: dict, problem: str):
        content = {name: value for name, value in loadmat(source.root / CONFIG).items() if not name.startswith("__")}
        content = {name: value for name, value in (content | change).items() if value is not None}
        savemat(source.root / CONFIG, content)
        with pytest.raises(ValueError, match=problem):
            source.load()
