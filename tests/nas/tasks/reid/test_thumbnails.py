"""The small images that an evaluation leaves for the page."""

import json
from types import SimpleNamespace

import numpy as np
import pytest
from PIL import Image

from nas.data.base import ReIDData, Split
from nas.tasks.reid.thumbnails import AREA, ends_and_middle, write_thumbnails


class Drawn:
    """Images as wide as they are high and half, each larger than a small one."""

    def __len__(self):
        return 30

    def read(self, i):
        return Image.new("RGB", (300, 200), (8 * i, 0, 0))

    def name(self, i):
        return f"{i}.png"


@pytest.fixture
def data():
    split = Split(images=Drawn(), ids=np.arange(30))
    return ReIDData(name="drawn", train=split, query=split, gallery=split)


def test_queries_and_what_was_found_for_them_are_written_once_in_their_shape(tmp_path, data):
    nearest = np.array([[i, (i + 1) % 30, -1] for i in range(30)])
    first = np.where(np.arange(30) < 3, 0, 1)
    result = SimpleNamespace(first_match_rank=first, average_precision=np.linspace(0, 1, 30), nearest=nearest)
    write_thumbnails(tmp_path, data, [result, result], np.array([20]), num_queries=3)
    index = json.loads((tmp_path / "thumbnails" / "index.json").read_text())
    assert list(index["query"]) == ["3.png", "16.png", "29.png"]
    assert sorted(index["gallery"], key=lambda name: int(name[:-4])) == [f"{i}.png" for i in (0, 3, 4, 16, 17, 20, 29)]
    file, *size = index["gallery"]["16.png"]
    assert size == [300, 200]
    with Image.open(tmp_path / "thumbnails" / file) as image:
        assert image.width * image.height == pytest.approx(AREA, rel=0.02)
        assert image.width / image.height == pytest.approx(1.5, rel=0.02)


def test_none_are_written_where_none_are_asked_for(tmp_path, data):
    write_thumbnails(tmp_path, data, [], np.array([]), num_queries=0)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(("num", "most", "chosen"), [(4, 9, [0, 1, 2, 3]), (10, 3, [0, 4, 9]), (10, 4, [0, 4, 5, 9])])
def test_the_ends_and_the_middle_are_chosen(num, most, chosen):
    assert ends_and_middle(np.arange(num), most).tolist() == chosen
