"""The names that configurations had in version 1. Fingerprints are made of them: what was begun then goes on."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

CLASSES = {"Csv": "ImageList", "Flat": "ConstantLR", "CosineRate": "CosineLR", "StepRate": "MultiStepLR"}
"""Today's name of each class that had another one."""
FIELDS = {"Recipe": {"rival": "baseline"}, "Search": {"settings": "parameters"}}
"""Today's names of fields, by today's name of their class."""
STAGES = {"rival": "baseline"}
"""Today's name of each stage, and of what it leaves: `rival.safetensors`, `rival.history.jsonl`."""

OLD_CLASSES = {new: old for old, new in CLASSES.items()}
OLD_FIELDS = {kind: {new: old for old, new in names.items()} for kind, names in FIELDS.items()}


def with_todays_names(encoded: Any) -> Any:
    """A configuration of version 1, as `nas.system.config.encode` wrote it, with the names of today."""
    if isinstance(encoded, list):
        return [with_todays_names(item) for item in encoded]
    if not isinstance(encoded, Mapping):
        return encoded
    written = encoded.get("kind", "")
    kind = CLASSES.get(written, written) if isinstance(written, str) else ""
    names = FIELDS.get(kind, {})
    renamed = {names.get(name, name): with_todays_names(value) for name, value in encoded.items()}
    return renamed | {"kind": kind or written} if "kind" in encoded else renamed


def with_version1_names(encoded: Any) -> Any:
    """The reverse."""
    if isinstance(encoded, list):
        return [with_version1_names(item) for item in encoded]
    if not isinstance(encoded, Mapping):
        return encoded
    kind = encoded.get("kind", "")
    names = OLD_FIELDS.get(kind, {})
    renamed = {names.get(name, name): with_version1_names(value) for name, value in encoded.items()}
    return renamed | {"kind": OLD_CLASSES.get(kind, kind)} if "kind" in encoded else renamed
