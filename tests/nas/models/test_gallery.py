"""Features of a gallery as a file."""

import json

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import save_file

from nas.models.gallery import Gallery, is_gallery

NAMES = ("a.jpg", "b/ü\n.png", "c\udcff.jpg")


def gallery(tmp_path, **other) -> Gallery:
    made = {"features": torch.randn(3, 4), "names": NAMES, "folder": tmp_path, "network": "12ab-64x32"}
    return Gallery(**made | other)


@pytest.mark.parametrize("identities", [None, ("Ann", "", "7")])
def test_it_comes_back_as_it_was(tmp_path, identities):
    before = gallery(tmp_path, identities=identities)
    after = Gallery.load(before.save(tmp_path / "g.safetensors"))
    assert torch.equal(before.features, after.features) and after.network == before.network
    assert after.names == (*NAMES[:2], "c\\udcff.jpg") and after.identities == identities
    assert after.path(0) == tmp_path / "a.jpg" and after.identity(0) == ("Ann" if identities else "")
    assert is_gallery(tmp_path / "g.safetensors") and len(after) == 3


def test_other_programs_can_read_it(tmp_path):
    path = gallery(tmp_path).save(tmp_path / "g.safetensors")
    with safe_open(path, "np") as file:
        assert json.loads(bytes(file.get_tensor("files")))[0] == "a.jpg"
        assert file.get_tensor("features").shape == (3, 4)


def test_what_is_none_is_refused(tmp_path):
    path = tmp_path / "other.safetensors"
    save_file({"features": torch.zeros(2, 2)}, path)
    assert not is_gallery(path)
    with pytest.raises(ValueError, match="`nas features` writes such a file"):
        Gallery.load(path)
    with pytest.raises(ValueError, match="a file, and an identity where there are such, for each feature"):
        Gallery.load(gallery(tmp_path, names=NAMES[:2]).save(path))
    with pytest.raises(ValueError, match="finite"):
        Gallery.load(gallery(tmp_path, features=torch.full((3, 4), torch.nan)).save(path))
