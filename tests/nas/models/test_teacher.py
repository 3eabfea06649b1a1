"""A teacher's file."""

import pytest

from nas.models.teacher import load_teacher


def test_another_projects_checkpoint_is_told_how_it_can_teach(tmp_path):
    (tmp_path / "bot.pth").write_bytes(b"anything")
    with pytest.raises(ValueError, match=r"bot\.pth must be a safetensors file .* --teacher\.training\.frozen"):
        load_teacher(tmp_path / "bot.pth", (0, 1), "data", "reid")
