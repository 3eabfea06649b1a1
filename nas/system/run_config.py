"""The configuration in a run's folder as plain data, for readers that need no class of it."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from nas.system.files import check_format, read_object
from nas.system.version1 import with_todays_names

FORMAT = 2
RESULTS = {
    "teach": "teacher.safetensors",
    "search": "architecture.json",
    "pretrain": "pretrained.safetensors",
    "retrain": "student.safetensors",
    "baseline": "baseline.safetensors",
    "random-cell": "random-cell.safetensors",
    "taught-baseline": "taught-baseline.safetensors",
}
"""What each stage ends with: where it stands, the stage is finished."""
HELD = {"recipe": str, "config": Mapping}
ALWAYS = ("data", "images", "space", "student", "strategy")
"""Fields that the configurations of every version have, for readers that need no class of them."""


def read_config(folder: Path) -> dict[str, Any]:
    """What `config.json` holds, with the names of today: its `format`, the name of the `recipe`, its encoded fields as
    `config`, and as `stages` those that each stage began with.

    Raises ValueError when `folder` is no run's, for a file of another tool, and for one of a later version.
    """
    path = folder / "config.json"
    if not path.is_file():
        raise ValueError(f"{folder} is not a run: it has no config.json. `nas run RECIPE --out {folder}` makes one")
    data = read_object(path)
    written = check_format(data, FORMAT, path)
    if not all(isinstance(data.get(key), kind) for key, kind in HELD.items()):
        raise ValueError(
            f"{path} is not of a run: it must hold a recipe (a name) and a config (fields), and holds "
            f"{', '.join(map(repr, [*data][:10])) or 'nothing'}. `nas run RECIPE` writes one into a folder of its own"
        )
    config = data["config"] if written == FORMAT else with_todays_names(data["config"])
    if missing := [field for field in ALWAYS if field not in config]:
        raise ValueError(f"{path} is not of a run: its config lacks the fields {', '.join(missing)}")
    if not isinstance(data.setdefault("stages", {}), dict):
        raise ValueError(f"{path} is not of a run: its stages must be an object, not {data['stages']!r}")
    plugins = data.setdefault("plugins", [])
    if not (isinstance(plugins, list) and all(map(_is_source, plugins))):
        raise ValueError(
            f"{path} is not of a run: its plugins must be a list of files with their classes, not {plugins!r}"
        )
    return {**data, "format": FORMAT, "config": config}


def _is_source(plugin: Any) -> bool:
    """Whether it is as `nas.system.plugins.sources` writes the file or module of classes."""
    if not isinstance(plugin, dict) or not isinstance(plugin.get("classes"), list):
        return False
    keys = ("module",) if "module" in plugin else ("file", "sha256")
    return all(isinstance(text, str) for text in (*plugin["classes"], *map(plugin.get, keys)))
