"""The configuration in a run's folder as plain data, for readers that need no class of it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from nas.system.files import read_json
from nas.system.version1 import with_todays_names

FORMAT = 2


def read_config(folder: Path) -> dict[str, Any]:
    """What `config.json` holds, with the names of today: its `format`, the name of the `recipe`, its encoded fields as
    `config`, and as `stages` those that each stage began with.

    Raises ValueError when `folder` is no run's, and for a file of a later version.
    """
    path = folder / "config.json"
    if not path.is_file():
        raise ValueError(f"{folder} is not a run: it has no config.json. `nas run RECIPE --out {folder}` makes one")
    data = read_json(path)
    if data.get("format", 1) > FORMAT:
        raise ValueError(f"{path} has format {data['format']}, this version reads {FORMAT}: update it")
    if data.get("format", 1) == 1:
        data |= {"format": FORMAT, "config": with_todays_names(data["config"])}
    return {"stages": {}, **data}
