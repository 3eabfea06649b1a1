"""Features of a network and of a file: the same numbers as a plain loop's, whole after saving, wrong files named."""

import io
import zipfile
from pathlib import Path

import numpy as np
import pytest
import scipy.io
import torch
from safetensors.torch import save_file
from torch import nn

from nas.data.augment import normalise
from nas.data.cache import ImageCache
from nas.data.sets.pedestrians import Pedestrians
from nas.tasks.reid.features import Features, extract
from nas.tasks.reid.settings import Evaluation
from nas.training.machine import Machine
from nas.training.stage import Stage
from students.reid import ReIDOutput

DATA = Pedestrians(num_train_ids=2, num_test_ids=3, images_per_id=5, num_cameras=2, height=32, width=16).load()


class Net(nn.Module):
    """Means of a convolution's map, as a re-ID network's output or alone."""

    def __init__(self, alone: bool) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.convolution, self.alone = nn.Conv2d(3, 6, 3, padding=1), alone

    def forward(self, x):
        feature = self.convolution(x).relu().mean(dim=(2, 3))
        return feature if self.alone else ReIDOutput(feature * 0, feature * 2, feature)


@pytest.fixture
def stage(tmp_path):
    return Stage(tmp_path, "evaluate", "", Machine(device="cpu", threads=1))


@pytest.fixture(scope="module")
def caches():
    return [ImageCache(split, 32, 16) for split in (DATA.query, DATA.gallery)]


def saved(folder: Path, name: str, **changed) -> Path:
    arrays = {
        "query": np.eye(2, 3, dtype=np.float32),
        "gallery": np.eye(3, dtype=np.float32),
        "query_ids": np.array([1, 2]),
        "gallery_ids": np.array([1, 2, 3]),
    } | changed
    arrays = {key: array for key, array in arrays.items() if array is not None}
    if name.endswith(".npz"):
        np.savez(folder / name, **arrays)
    else:
        save_file({key: torch.from_numpy(array) for key, array in arrays.items()}, folder / name)
    return folder / name


class TestExtract:
    @pytest.mark.parametrize("alone", [False, True])
    @pytest.mark.parametrize("batch_size", [1, 4, 128])
    def test_as_one_image_after_the_other(self, stage, caches, alone, batch_size):
        net = Net(alone).train()
        features = extract(net, *caches, stage, Evaluation(batch_size=batch_size))
        assert net.training and not features.query.requires_grad
        for found, cache in zip((features.query, features.gallery), caches, strict=True):
            plain = torch.cat([Net(True)(normalise(cache.get(np.array([i])))) for i in range(len(cache))])
            torch.testing.assert_close(found, plain, rtol=1e-5, atol=1e-6)
        assert features.query_ids.tolist() == DATA.query.ids.tolist()
        assert features.gallery_cameras.tolist() == DATA.gallery.cameras.tolist()

    def test_flip_averages_an_image_and_its_mirror_image(self, stage, caches):
        found = extract(Net(True), *caches, stage, Evaluation(flip=True)).query
        images = normalise(caches[0].get(np.arange(len(caches[0]))))
        net = Net(True)
        torch.testing.assert_close(found, (net(images) + net(images.flip(3))) / 2, rtol=1e-5, atol=1e-6)


class TestParted:
    def test_indices_count_queries_then_gallery(self):
        numbers = torch.arange(5)
        features = Features(
            query=numbers[:2, None].float(),
            gallery=numbers[2:, None].float(),
            query_ids=numbers[:2] * 10,
            gallery_ids=numbers[2:] * 10,
            query_cameras=numbers[:2],
            gallery_cameras=numbers[2:],
        )
        part = features.partition(np.array([4, 0]), np.array([1, 2, 3]))
        assert part.query.flatten().tolist() == [4, 0] and part.query_ids.tolist() == [40, 0]
        assert part.gallery.flatten().tolist() == [1, 2, 3] and part.gallery_cameras.tolist() == [1, 2, 3]


class TestFiles:
    def test_what_was_saved_comes_back(self, tmp_path, stage, caches):
        features = extract(Net(True), *caches, stage, Evaluation())
        again = Features.load(features.save(tmp_path / "sub" / "features.safetensors"))
        assert vars(features).keys() == vars(again).keys()
        assert all(torch.equal(vars(features)[name], tensor) for name, tensor in vars(again).items())

    @pytest.mark.parametrize("name", ["features.npz", "features.safetensors"])
    def test_others_may_leave_out_the_cameras_and_use_other_precision(self, tmp_path, name):
        path = saved(tmp_path, name, query=np.eye(2, 3, dtype=np.float16), query_ids=np.array([1, 2], dtype=np.int32))
        features = Features.load(path)
        assert features.query.dtype == torch.float32 and features.query_ids.dtype == torch.int64
        assert features.query_cameras is None
        found = features.evaluate(Evaluation(same_camera="keep"))
        assert (found.mAP, found.num_queries) == (1.0, 2)

    @pytest.mark.parametrize("name", ["features.npz", "features.safetensors"])
    @pytest.mark.parametrize(
        ("changed", "message"),
        [
            ({"gallery_ids": None}, "lacks gallery_ids and holds 'gallery', 'query', 'query_ids'"),
            ({"query_ids": np.array([1.0, 2.0])}, "query_ids must hold whole numbers, not torch.float64"),
            ({"query_ids": np.array([[1, 2]])}, r"query_ids must be a row of numbers, not of shape \[1, 2\]"),
            ({"gallery": np.eye(3, dtype=np.int64)}, "gallery must hold floating-point numbers"),
            ({"query": np.eye(2, 3, dtype=np.complex64)}, "query must hold plain real numbers, not .*complex64"),
            ({"query_ids": np.array([True, False])}, "query_ids must be whole numbers, got torch.bool"),
            (
                {"gallery_ids": np.array([1, 2**63 + 1, 3], dtype=np.uint64)},
                "gallery_ids must be .*9223372036854775809",
            ),
            ({"query_cameras": np.array([0.5, 1.0])}, "query_cameras must hold whole numbers, not torch.float64"),
        ],
    )
    def test_wrong_arrays_are_named(self, tmp_path, name, changed, message):
        with pytest.raises(ValueError, match=rf"{name}\b.*{message}"):
            Features.load(saved(tmp_path, name, **changed))

    @pytest.mark.parametrize("kind", ["U", "S", "O"])
    def test_texts_are_named(self, tmp_path, kind):
        with pytest.raises(ValueError, match=r"features\.npz.*(gallery_ids must hold plain|Object arrays)"):
            Features.load(saved(tmp_path, "features.npz", gallery_ids=np.array(["a", "b", "c"], dtype=kind)))

    def test_other_arrays_are_not_looked_at(self, tmp_path):
        path = saved(tmp_path, "features.npz", names=np.array(["a", "b"]), notes=np.array([{}], dtype=object))
        assert len(Features.load(path).query) == 2

    @pytest.mark.parametrize(
        ("changed", "message"),
        [
            ({"query_ids": np.array([1])}, "ids"),
            ({"query": np.full((2, 3), np.nan, dtype=np.float32)}, "must be finite"),
            ({"query": np.zeros((2, 3), dtype=np.float32)}, "zero"),
            ({"query": np.eye(2, dtype=np.float32)}, "equally long"),
            ({"query_ids": np.array([7, 8])}, "no query has a match"),
            ({}, "--keep-same-camera"),
        ],
    )
    def test_what_does_not_fit_is_refused_before_it_is_measured(self, tmp_path, changed, message):
        features = Features.load(saved(tmp_path, "features.npz", **changed))
        with pytest.raises(ValueError, match=message):
            features.evaluate(Evaluation(same_camera="keep" if changed else "remove"))

    def test_a_file_that_would_run_something_is_refused(self, tmp_path):
        np.savez(tmp_path / "objects.npz", query=np.array([{"a": 1}], dtype=object), allow_pickle=True)
        with pytest.raises(ValueError, match=r"objects.npz must be an .npz file of plain number arrays"):
            Features.load(tmp_path / "objects.npz")

    def test_damaged_and_missing_files(self, tmp_path):
        (tmp_path / "bad.npz").write_bytes(b"PK nothing")
        np.save(tmp_path / "single.npy", np.eye(2))
        (tmp_path / "single.npy").rename(tmp_path / "single.npz")
        for name in ("bad.npz", "single.npz"):
            with pytest.raises(ValueError, match=f"{name} must be an .npz file"):
                Features.load(tmp_path / name)
        for name in ("none.npz", "none.safetensors"):
            with pytest.raises(ValueError, match=f"{name} does not exist"):
                Features.load(tmp_path / name)


class TestOtherScripts:
    """Files of public evaluation scripts."""

    ROWS = {"query": np.eye(2, 3, dtype=np.float32), "gallery": np.eye(3, dtype=np.float32)}
    LABELS = {"query": [1, 2], "gallery": [1, 2, 3]}

    def check(self, features):
        for side, rows in self.ROWS.items():
            assert torch.equal(getattr(features, side), torch.from_numpy(rows))
            assert getattr(features, f"{side}_ids").tolist() == self.LABELS[side]
            assert getattr(features, f"{side}_cameras").tolist() == [0] * len(rows)

    def written(self, names, make=np.array):
        """By the names of features, labels and cameras, `{}` for the side."""
        values = {"query": {}, "gallery": {}}
        for side, rows in self.ROWS.items():
            features, labels, cameras = (name.format(side=side, s=side[0]) for name in names)
            values[side] = {features: rows, labels: make(self.LABELS[side]), cameras: make([0] * len(rows))}
        return values["query"] | values["gallery"]

    @pytest.mark.parametrize("kind", [np.int64, np.int32, np.uint8, np.float64])
    def test_mat(self, tmp_path, kind):
        names = ("{side}_f", "{side}_label", "{side}_cam")
        scipy.io.savemat(tmp_path / "result.mat", self.written(names, lambda row: np.array([row], dtype=kind)))
        self.check(Features.load(tmp_path / "result.mat"))

    @pytest.mark.parametrize("wrong", [1.5, np.nan, 1e20])
    def test_mat_with_labels_that_are_no_whole_numbers(self, tmp_path, wrong):
        arrays = self.written(("{side}_f", "{side}_label", "{side}_cam"), lambda row: np.array([row], dtype=float))
        arrays["query_label"][0, 1] = wrong
        scipy.io.savemat(tmp_path / "result.mat", arrays)
        with pytest.raises(ValueError, match=r"result\.mat: query_ids must hold whole numbers"):
            Features.load(tmp_path / "result.mat")

    @pytest.mark.parametrize("names", [("{s}f", "{s}l", "{s}c"), ("{side}", "{side}_ids", "{side}_cameras")])
    @pytest.mark.parametrize("suffix", ["pt", "pth", "npz"])
    def test_other_files(self, tmp_path, names, suffix):
        path = tmp_path / f"features.{suffix}"
        arrays = self.written(names)
        if suffix == "npz":
            np.savez(path, **arrays)
        else:
            torch.save({name: torch.from_numpy(array) for name, array in arrays.items()} | {"epoch": 3}, path)
        self.check(Features.load(path))

    @pytest.mark.parametrize("suffix", ["mat", "pt"])
    def test_what_is_no_such_file_is_one_line(self, tmp_path, suffix):
        path = tmp_path / f"features.{suffix}"
        path.write_bytes(b"nothing" * 40)
        with pytest.raises(ValueError, match=rf"features\.{suffix} (must be|is damaged)") as error:
            Features.load(path)
        assert str(error.value).isprintable()

    def test_matlabs_version_7_3_says_what_to_do(self, tmp_path):
        header = b"MATLAB 7.3 MAT-file".ljust(124) + b"\x00\x02IM"
        (tmp_path / "new.mat").write_bytes(header.ljust(512, b"\0"))
        with pytest.raises(ValueError, match=r"new\.mat is of MATLAB's version 7.3: save it with -v7"):
            Features.load(tmp_path / "new.mat")

    def test_other_contents_are_named(self, tmp_path):
        torch.save([torch.ones(2)], tmp_path / "list.pt")
        with pytest.raises(ValueError, match=r"list\.pt must hold arrays by name, not a list"):
            Features.load(tmp_path / "list.pt")
        torch.save({"conv1.weight": torch.ones(2)}, tmp_path / "net.pt")
        with pytest.raises(ValueError, match=r"net\.pt must hold the arrays query.* holds 'conv1.weight'"):
            Features.load(tmp_path / "net.pt")
        torch.save({"query": ["a"]}, tmp_path / "text.pt")
        with pytest.raises(ValueError, match=r"text\.pt.*gallery"):
            Features.load(tmp_path / "text.pt")

    def test_arrays_that_claim_terabytes(self, tmp_path):
        header = io.BytesIO()
        np.lib.format.write_array_header_1_0(header, {"descr": "<f4", "fortran_order": False, "shape": (10**10, 1000)})
        with zipfile.ZipFile(tmp_path / "claims.npz", "w") as packed:
            packed.writestr("query.npy", header.getvalue())
        with pytest.raises(ValueError, match=r"claims\.npz must"):
            Features.load(tmp_path / "claims.npz")

    @pytest.mark.parametrize("suffix", ["mat", "pt"])
    def test_few_bytes_that_stand_for_many(self, tmp_path, suffix, monkeypatch):
        monkeypatch.setattr("nas.system.memory.spare_bytes", lambda: 2**20)
        arrays = {name: np.zeros((2**9, 2**10), dtype=np.float32) for name in ("query", "gallery")}
        arrays |= {name: np.zeros((1, 2**9)) for name in ("query_ids", "gallery_ids")}
        path = tmp_path / f"bomb.{suffix}"
        if suffix == "mat":
            scipy.io.savemat(path, arrays, do_compression=True)
        else:
            torch.save({name: torch.zeros(1).expand(array.shape) for name, array in arrays.items()}, path)
        assert path.stat().st_size < 2**16
        with pytest.raises(ValueError, match=rf"bomb\.{suffix} must hold arrays that fit into memory: they take"):
            Features.load(path)

    def test_arrays_that_do_not_fit_into_memory(self, tmp_path, monkeypatch):
        monkeypatch.setattr("nas.system.memory.spare_bytes", lambda: 10)
        with pytest.raises(ValueError, match=r"features\.npz must .* they take .* GiB"):
            Features.load(saved(tmp_path, "features.npz"))
