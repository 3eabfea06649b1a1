"""What the help says of a flag: the sentence that stands below its field."""

from __future__ import annotations

import ast
import inspect
import textwrap
from collections.abc import Mapping
from functools import cache
from itertools import pairwise
from typing import Annotated, Any

import tyro


def explained(kinds: Mapping[str, Any], owner: type) -> dict[str, Any]:
    """The types of fields, each with its sentence in the dataclass `owner` as the flag's help."""
    return {name: Annotated[kind, tyro.conf.arg(help=sentence(owner, name) or None)] for name, kind in kinds.items()}


def sentence(kind: type, name: str) -> str:
    """What stands below the field `name` in the dataclass `kind`, or in a class that `kind` has it from."""
    return next((found[name] for found in map(sentences, inspect.getmro(kind)) if name in found), "")


@cache
def sentences(kind: type) -> dict[str, str]:
    """What stands below the fields that the class itself declares, by their names."""
    if "__annotations__" not in vars(kind):
        return {}
    try:
        source = inspect.getsource(kind)
    except OSError:  # a class that was made without a file
        return {}
    body = ast.parse(textwrap.dedent(source)).body[0]
    assert isinstance(body, ast.ClassDef)
    return {
        ast.unparse(line.target): " ".join(str(below.value.value).split())
        for line, below in pairwise(body.body)
        if isinstance(line, ast.AnnAssign) and isinstance(below, ast.Expr) and isinstance(below.value, ast.Constant)
    }
