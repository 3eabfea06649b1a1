"""The names that configurations had in version 1. Fingerprints are made of them: what was begun then goes on."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

CLASSES = {"Csv": "ImageList", "Flat": "ConstantLR", "CosineRate": "CosineLR", "StepRate": "MultiStepLR"}
"""Today's name of each class that had another one."""
FIELDS = {"Recipe": {"rival": "baseline"}, "Search": {"settings": "parameters"}}
"""Today's names of fields, by their class, whose name is the same in both versions."""
STAGES = {"rival": "baseline"}
"""Today's name of each stage, and of what it leaves: `rival.safetensors`, `rival.history.jsonl`."""

OLD_CLASSES = {new: old for old, new in CLASSES.items()}
OLD_FIELDS = {kind: {new: old for old, new in names.items()} for kind, names in FIELDS.items()}


def with_todays_names(encoded: Any) -> Any:
    """A configuration of version 1, as `nas.system.config.encode` wrote it, with the names of today."""
    return _rename(encoded, CLASSES, FIELDS)


def with_version1_names(encoded: Any) -> Any:
    """The reverse."""
    return _rename(encoded, OLD_CLASSES, OLD_FIELDS)


def _rename(encoded: Any, classes: Mapping[str, str], fields: Mapping[str, Mapping[str, str]]) -> Any:
    """`fields` go by the name of a class that is the same in both versions."""
    if isinstance(encoded, list):
        return [_rename(item, classes, fields) for item in encoded]
    if not isinstance(encoded, Mapping):
        return encoded
    kind = encoded.get("kind")
    known = kind if isinstance(kind, str) else ""  # a file of others may hold anything there
    names = fields.get(known, {})
    renamed = {names.get(name, name): _rename(value, classes, fields) for name, value in encoded.items()}
    return renamed | {"kind": classes[known]} if known in classes else renamed
