"""What the program draws is the same for ever, fits every size, and is not told apart by colours or surroundings."""

from functools import lru_cache

import numpy as np
import pytest
import torch
from torch import from_numpy

from nas.data.base import ReIDData, Split
from nas.data.sets.pedestrians import Pedestrians
from nas.data.sets.vehicles import Vehicles
from nas.data.synthetic.source import Synthetic
from nas.metrics.retrieval import evaluate_retrieval

every_set = pytest.mark.parametrize("source", [Pedestrians, Vehicles])


@every_set
class TestDrawing:
    def test_same_seed_same_image_in_any_order(self, source: type[Synthetic]):
        images, again = (source(seed=5).load().train.images for _ in range(2))
        backwards = [again.read(i).tobytes() for i in reversed(range(8))]
        assert [images.read(i).tobytes() for i in range(8)] == backwards[::-1]

    def test_seeds_parts_and_numbers_differ(self, source: type[Synthetic]):
        one, other = source(seed=0).load(), source(seed=1).load()
        places = [(one.train, 0), (one.train, 4), (one.query, 0), (other.train, 0)]
        assert len({split.images.read(i).tobytes() for split, i in places}) == 4

    def test_more_identities_leave_the_others_as_they_are(self, source: type[Synthetic]):
        few, many = source(num_train_ids=2).load(), source(num_train_ids=9).load()
        assert few.train.images.read(17).tobytes() == many.train.images.read(17).tobytes()
        assert few.query.images.read(3).tobytes() == many.query.images.read(3).tobytes()

    @pytest.mark.parametrize("size", [(16, 16), (33, 17), (128, 128), (384, 128), (64, 200)])
    def test_any_size(self, source: type[Synthetic], size: tuple[int, int]):
        height, width = size
        images = source(height=height, width=width).load().train.images
        for i in range(4):
            assert images.read(i).size == (width, height) and np.asarray(images.read(i)).std() > 5

    def test_no_name_comes_twice(self, source: type[Synthetic]):
        data = source(num_train_ids=3, num_test_ids=2, num_cameras=3).load()
        names = [split.images.name(i) for split in data.splits.values() for i in range(len(split))]
        assert len(set(names)) == len(names) and all(name.startswith(f"{source.__name__.lower()}/") for name in names)

    def test_number_beyond_the_last_is_an_error(self, source: type[Synthetic]):
        images = source(num_train_ids=2, images_per_id=3).listed().train.images
        with pytest.raises(IndexError, match="image 6 of 6"):
            images.read(6)


@every_set
class TestSplits:
    def test_one_query_for_each_identity_and_camera(self, source: type[Synthetic]):
        data = source(num_train_ids=3, num_test_ids=5, num_cameras=6, images_per_id=7).load()
        assert data.counts() == {
            "train_images": 21, "train_identities": 3, "query_images": 30, "query_identities": 5,
            "gallery_images": 30, "gallery_identities": 5, "gallery_junk": 0, "gallery_distractors": 0, "cameras": 6,
        }  # fmt: skip
        assert len(set(zip(data.query.ids.tolist(), data.query.cameras.tolist(), strict=True))) == 30

    def test_every_query_has_a_match_in_another_camera(self, source: type[Synthetic]):
        data = source(num_test_ids=3, num_cameras=2, images_per_id=3).load()
        for one, camera in zip(data.query.ids, data.query.cameras, strict=True):
            assert ((data.gallery.ids == one) & (data.gallery.cameras != camera)).any()


def histograms(pixels: np.ndarray, stripes: int) -> np.ndarray:
    """Square roots of colour histograms of 8 x 8 x 8 bins, one for each horizontal stripe: [N, stripes * 512]."""
    codes = (pixels // 32).astype(np.int64) @ [64, 8, 1]
    parts = [part.reshape(len(codes), -1) for part in np.array_split(codes, stripes, axis=1)]
    images = zip(*parts, strict=True)
    return np.sqrt([np.concatenate([np.bincount(one, minlength=512) for one in image]) for image in images])


def border(pixels: np.ndarray) -> np.ndarray:
    """The pixels of a frame that is a sixteenth of the image's height thick."""
    inner = np.ones(pixels.shape[1:3], dtype=bool)
    width = pixels.shape[1] // 16
    inner[width:-width, width:-width] = False
    return pixels[:, inner].reshape(len(pixels), -1) / 255


def discriminant(features: np.ndarray, labels: np.ndarray, shrinkage: float = 0.1) -> np.ndarray:
    """Linear discriminant analysis [D, d]: directions along which identities differ more than their own images do."""
    centred = features - features.mean(0)
    basis = centred.T @ np.linalg.eigh(centred @ centred.T)[1][:, -500:]
    basis /= np.linalg.norm(basis, axis=0)
    means = np.stack([features[labels == one].mean(0) for one in np.unique(labels)])
    within = (features - means[labels]) @ basis
    scatter = within.T @ within / len(labels)
    values, vectors = np.linalg.eigh(scatter + shrinkage * np.trace(scatter) / len(scatter) * np.eye(len(scatter)))
    whitened = basis @ (vectors / np.sqrt(values))
    return whitened @ np.linalg.svd((means - means.mean(0)) @ whitened, full_matrices=False)[2].T


@lru_cache(maxsize=1)
def small(source: type[Synthetic]) -> tuple[ReIDData, list[np.ndarray]]:
    """A small data set, and the pixels of its splits."""
    data = source(num_train_ids=48, num_test_ids=24, height=source().height // 2, width=source().width // 2).load()
    return data, [pixels_of(split) for split in data.splits.values()]


def pixels_of(split: Split) -> np.ndarray:
    return np.stack([np.asarray(split.images.read(i)) for i in range(len(split))])


def linear_mean_average_precision(data: ReIDData, train: np.ndarray, query: np.ndarray, gallery: np.ndarray) -> float:
    directions, mean = discriminant(train, data.train_labels), train.mean(0)
    return mean_average_precision(data, (query - mean) @ directions, (gallery - mean) @ directions)


def mean_average_precision(data: ReIDData, query: np.ndarray, gallery: np.ndarray) -> float:
    sides = (data.query, data.gallery)
    ids, cameras = [from_numpy(side.ids) for side in sides], [from_numpy(side.cameras) for side in sides]
    features = [torch.tensor(one, dtype=torch.float32) for one in (query, gallery)]
    return evaluate_retrieval(*features, *ids, *cameras).mAP


def chance(data: ReIDData) -> float:
    features = np.random.default_rng(0).normal(size=(len(data.query) + len(data.gallery), 32))
    return mean_average_precision(data, features[: len(data.query)], features[len(data.query) :])


class TestDifficulty:
    @pytest.mark.medium
    @pytest.mark.parametrize(("stripes", "most"), [(1, 0.12), (6, 0.25)])
    @every_set
    def test_linear_colour_histogram_is_better_than_chance_and_far_from_solving_it(
        self, source: type[Synthetic], stripes: int, most: float
    ):
        data, pixels = small(source)
        found = linear_mean_average_precision(data, *(histograms(one, stripes) for one in pixels))
        print(f"{stripes} stripes: chance {chance(data):.3f}, found {found:.3f}")
        assert chance(data) < found < most

    @pytest.mark.medium
    def test_vehicles_are_not_told_apart_by_what_is_around_them(self):
        data, pixels = small(Vehicles)
        found = linear_mean_average_precision(data, *map(border, pixels))
        print(f"border: chance {chance(data):.3f}, found {found:.3f}")
        assert found < 1.2 * chance(data)
