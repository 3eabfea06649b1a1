"""The drawn pedestrians are the same for ever, fit every size, and are not told apart by their colours alone."""

from dataclasses import replace
from math import pi

import numpy as np
import pytest
from PIL import Image, ImageChops

from nas.data.base import ReIDData, Split
from nas.data.pedestrian_figure import Figure, drawn_appearance
from nas.data.pedestrians import Pedestrians


def rng(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


class TestDrawing:
    def test_same_seed_same_image_in_any_order(self):
        images, again = (Pedestrians(seed=5).load().train.images for _ in range(2))
        backwards = [again.read(i).tobytes() for i in reversed(range(8))]
        assert [images.read(i).tobytes() for i in range(8)] == backwards[::-1]

    def test_seeds_parts_and_numbers_differ(self):
        one, other = Pedestrians(seed=0).load(), Pedestrians(seed=1).load()
        places = [(one.train, 0), (one.train, 4), (one.query, 0), (other.train, 0)]
        assert len({split.images.read(i).tobytes() for split, i in places}) == 4

    def test_more_identities_leave_the_others_as_they_are(self):
        few, many = Pedestrians(num_train_ids=2).load(), Pedestrians(num_train_ids=9).load()
        assert few.train.images.read(17).tobytes() == many.train.images.read(17).tobytes()
        assert few.query.images.read(3).tobytes() == many.query.images.read(3).tobytes()

    @pytest.mark.parametrize("size", [(16, 8), (33, 17), (128, 128), (384, 128), (64, 200)])
    def test_any_size(self, size: tuple[int, int]):
        height, width = size
        image = Pedestrians(height=height, width=width).load().train.images.read(3)
        assert image.size == (width, height) and np.asarray(image).std() > 5

    def test_backpack_is_seen_from_behind_and_from_the_side_more_than_from_the_front(self):
        bare = replace(drawn_appearance(rng()), backpack=None, bag=None, girth=1.0)
        seen = {}
        for name, yaw in (("front", 0.0), ("side", pi / 2), ("back", pi)):
            pictures = [picture_of(replace(bare, backpack=pack), yaw) for pack in (None, (0, 255, 0))]
            seen[name] = np.count_nonzero(np.asarray(ImageChops.difference(*pictures)).any(axis=2))
        assert seen["back"] > seen["side"] > seen["front"] > 0

    @pytest.mark.parametrize("field", ["num_train_ids", "num_cameras", "height"])
    def test_too_few_is_an_error(self, field: str):
        with pytest.raises(ValueError, match=f"Pedestrians needs {field} >= .*; got 0"):
            Pedestrians(**{field: 0}).load()


def picture_of(who, yaw: float) -> Image.Image:
    image = Image.new("RGB", (128, 256), (90, 90, 90))
    Figure(who, yaw=yaw, phase=0.5, x=64, y=250, size=240).paint(image)
    return image


class TestSplits:
    def test_one_query_for_each_identity_and_camera(self):
        data = Pedestrians(num_train_ids=3, num_test_ids=5, num_cameras=6, images_per_id=7).load()
        assert data.counts() == {
            "train_images": 21, "train_identities": 3, "query_images": 30, "query_identities": 5,
            "gallery_images": 30, "gallery_identities": 5, "gallery_junk": 0, "gallery_distractors": 0, "cameras": 6,
        }  # fmt: skip
        assert len(set(zip(data.query.ids.tolist(), data.query.cameras.tolist(), strict=True))) == 30

    def test_every_query_has_a_match_in_another_camera(self):
        data = Pedestrians(num_test_ids=3, num_cameras=2, images_per_id=3).load()
        for one, camera in zip(data.query.ids, data.query.cameras, strict=True):
            assert ((data.gallery.ids == one) & (data.gallery.cameras != camera)).any()


def histograms(split: Split, stripes: int) -> np.ndarray:
    """Square roots of colour histograms of 8 x 8 x 8 bins, one for each horizontal stripe: [N, stripes * 512]."""
    pixels = np.stack([np.asarray(split.images.read(i)) for i in range(len(split))]) // 32
    codes = pixels.astype(np.int64) @ [64, 8, 1]
    parts = [part.reshape(len(codes), -1) for part in np.array_split(codes, stripes, axis=1)]
    return np.sqrt([np.concatenate([np.bincount(one, minlength=512) for one in image]) for image in zip(*parts)])


def discriminant(features: np.ndarray, labels: np.ndarray, shrinkage: float = 0.1) -> np.ndarray:
    """Linear discriminant analysis [D, d]: directions along which identities differ more than their own images do."""
    basis = np.linalg.svd(features - features.mean(0), full_matrices=False)[2][:500].T
    means = np.stack([features[labels == one].mean(0) for one in np.unique(labels)])
    within = (features - means[labels]) @ basis
    scatter = within.T @ within / len(labels)
    values, vectors = np.linalg.eigh(scatter + shrinkage * np.trace(scatter) / len(scatter) * np.eye(len(scatter)))
    whitened = basis @ (vectors / np.sqrt(values))
    return whitened @ np.linalg.svd((means - means.mean(0)) @ whitened, full_matrices=False)[2].T


def mean_average_precision(data: ReIDData, query: np.ndarray, gallery: np.ndarray) -> float:
    """Over gallery images of other cameras, by cosine."""
    query, gallery = (x / np.linalg.norm(x, axis=1, keepdims=True) for x in (query, gallery))
    precisions = []
    for feature, one, camera in zip(query, data.query.ids, data.query.cameras, strict=True):
        others = data.gallery.cameras != camera
        good = (data.gallery.ids[others] == one)[np.argsort(-gallery[others] @ feature)]
        precisions.append((np.cumsum(good) / np.arange(1, len(good) + 1))[good].mean())
    return float(np.mean(precisions))


class TestDifficulty:
    @pytest.mark.parametrize(("stripes", "most"), [(1, 0.12), (6, 0.25)])
    def test_linear_colour_histogram_is_better_than_chance_and_far_from_solving_it(self, stripes: int, most: float):
        data = Pedestrians(num_train_ids=48, num_test_ids=24, height=64, width=32).load()
        train, query, gallery = (histograms(split, stripes) for split in (data.train, data.query, data.gallery))
        directions, mean = discriminant(train, data.train_labels), train.mean(0)
        found = mean_average_precision(data, (query - mean) @ directions, (gallery - mean) @ directions)
        features = rng().normal(size=(len(data.query) + len(data.gallery), 32))
        chance = mean_average_precision(data, features[: len(data.query)], features[len(data.query) :])
        print(f"{stripes} stripes: chance {chance:.3f}, found {found:.3f}")
        assert chance < found < most
