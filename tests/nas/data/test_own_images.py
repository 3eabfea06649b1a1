"""Images to look at, from a folder or a list."""

from pathlib import Path

import pytest
from PIL import Image

from nas.data.own_images import own_images

LISTED = "path,identity,camera,split\nb.png,Ann,1,gallery\nin/a.JPG,,2,query\n"


@pytest.fixture
def folder(tmp_path) -> Path:
    (tmp_path / "in/deep").mkdir(parents=True)
    for name in ("b.png", "in/a.JPG", "in/deep/c.webp", ".hidden.png"):
        Image.new("RGB", (4, 4)).save(tmp_path / name)
    (tmp_path / "notes.txt").write_text("none")
    return tmp_path


def listed(folder: Path, text: str) -> Path:
    (folder / "list.csv").write_text(text)
    return folder / "list.csv"


def test_a_folder_is_searched_whole_in_order(folder):
    found = own_images(folder)
    assert found.names == ("b.png", "in/a.JPG", "in/deep/c.webp") and found.identities is None
    assert found.paths[1] == folder / "in/a.JPG"


def test_a_list_has_its_order_and_its_identities(folder):
    found = own_images(listed(folder, LISTED))
    assert found.names == ("b.png", "in/a.JPG") and found.identities == ("Ann", "")
    assert own_images(folder / "list.csv", "query").names == ("in/a.JPG",)
    assert own_images(listed(folder, "path\nin/deep/c.webp\n")).identities is None


@pytest.mark.parametrize(
    ("text", "split", "said"),
    [
        ("file\nb.png\n", "", "path is missing"),
        ("path\nnowhere.png\n", "", r"missing: .*nowhere.png \(line 2\)"),
        ("path\nb.png\n./b.png\n", "", "listed again"),
        ("path,identity\n,Ann\n", "", "line 2: the column path is empty"),
        ("path\nb.png\n", "query", "must have a column split"),
        (LISTED, "train", "has no image whose split is train"),
    ],
)
def test_a_list_that_is_wrong_is_refused(folder, text, split, said):
    with pytest.raises(ValueError, match=said):
        own_images(listed(folder, text), split)


def test_what_holds_no_images_is_refused(folder, tmp_path):
    with pytest.raises(ValueError, match="have no splits|has no splits"):
        own_images(folder, "query")
    with pytest.raises(ValueError, match="images come from a folder or a CSV file, and .*b.png is a file"):
        own_images(folder / "b.png")
    with pytest.raises(ValueError, match="nowhere does not exist"):
        own_images(folder / "nowhere")
    (tmp_path / "empty").mkdir()
    with pytest.raises(ValueError, match="contains no image that Pillow decodes: it is empty"):
        own_images(tmp_path / "empty")
