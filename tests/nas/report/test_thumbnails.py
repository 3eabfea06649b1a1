"""The small images that an evaluation leaves for the page."""

import json

import numpy as np
import pytest
from PIL import Image

from nas.report.thumbnails import AREA, ends_and_middle, read_thumbnails, write_thumbnails
from nas.system.files import write_json


class Drawn:
    """Images half as wide again as they are high, and larger than a small one."""

    def __len__(self):
        return 30

    def read(self, i):
        return Image.new("RGB", (300, 200), (8 * i, 0, 0))

    def name(self, i):
        return f"{i}.png"


def test_images_are_written_once_in_their_shape_and_come_back(tmp_path):
    sides = {"query": np.array([3]), "gallery": np.array([5, -1, 16, 5])}
    write_thumbnails(tmp_path, dict.fromkeys(sides, Drawn()), sides)
    index = json.loads((tmp_path / "thumbnails" / "index.json").read_text())
    assert list(index["query"]) == ["3.png"] and list(index["gallery"]) == ["5.png", "16.png"]
    file, *size = index["gallery"]["16.png"]
    with Image.open(tmp_path / "thumbnails" / file) as image:
        assert image.width * image.height == pytest.approx(AREA, rel=0.02)
        assert image.width / image.height == pytest.approx(1.5, rel=0.02)
    read = read_thumbnails(tmp_path)["gallery"]["16.png"]
    assert read["size"] == size == [300, 200] and read["source"].startswith("data:image/jpeg;base64,")


def test_a_folder_without_them_has_none(tmp_path):
    assert read_thumbnails(tmp_path) == {"query": {}, "gallery": {}, "maps": {}}


def test_a_thumbnail_is_a_jpeg_in_its_folder(tmp_path):
    sides = {"query": np.array([3]), "gallery": np.array([5])}
    write_thumbnails(tmp_path, dict.fromkeys(sides, Drawn()), sides)
    file = tmp_path / "thumbnails" / "query-000003.jpg"
    file.rename(tmp_path / file.name)
    write_json(file.with_name("index.json"), {"query": {"a": [f"../{file.name}", 1, 1]}, "gallery": {}})
    with pytest.raises(ValueError, match=r"query-000003\.jpg"):
        read_thumbnails(tmp_path)
    file.write_bytes(b"<svg onload=alert(1)>")
    with pytest.raises(ValueError, match=r"query-000003\.jpg must be a JPEG"):
        read_thumbnails(tmp_path)


@pytest.mark.parametrize(("num", "most", "chosen"), [(4, 9, [0, 1, 2, 3]), (10, 3, [0, 4, 9]), (10, 4, [0, 4, 5, 9])])
def test_the_ends_and_the_middle_are_chosen(num, most, chosen):
    assert ends_and_middle(np.arange(num), 2 * np.arange(num), most).tolist() == chosen
