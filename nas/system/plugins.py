"""Classes of a user's own: the files and packages that define them, and which of the files this user trusts.

A file is run when a command names it, and then its path and its sha256 are on this user's list of trusted files. The
configuration of a run names the files of its classes. Later commands run a file that is on the list and has not changed
since; any other is refused, with the flag that names it. The name of a class alone imports nothing.
"""

from __future__ import annotations

import dataclasses
import hashlib
import os
import sys
from collections.abc import Iterable, Iterator, Mapping
from functools import cache
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any, NamedTuple

from nas.errors import PLUGIN, SaveError, first_line
from nas.system.files import read_bytes, write_json

if TYPE_CHECKING:
    from importlib.metadata import EntryPoint

GROUP = "nas_reid.plugins"
"""The entry points by which installed packages name modules of theirs that define classes."""
TOOLKIT = ("nas", "runs", "search_spaces", "students", "teachers")


class Plugin(NamedTuple):
    """A file that was run in this process."""

    path: Path
    sha256: str
    module: ModuleType

    def has(self, kind: str) -> bool:
        """Whether it defines or imports a class of this name."""
        return isinstance(vars(self.module).get(kind), type)


_loaded: dict[Path, Plugin] = {}


def load(path: Path) -> ModuleType:
    """Runs the file `path`, which this user has named, and trusts it from now on.

    Raises ValueError when it is no file, does not end in .py or is no text.
    """
    if not path.is_file():
        raise ValueError(f"the file {path} {'is no file' if path.exists() else 'does not exist'}")
    if path.suffix != ".py":
        raise ValueError(f"a file of recipes or classes must end in .py, not be {path}")
    source = read_bytes(path)
    module = _run(path, source)
    _trust(path.resolve(), _sha256(source))
    return module


def loaded() -> list[Path]:
    """The files that were run in this process."""
    return list(_loaded)


def _run(path: Path, source: bytes) -> ModuleType:
    """Runs what was read, never a compiled file beside it; once, while it stays as it is."""
    place, sha256 = path.resolve(), _sha256(source)
    if place in _loaded and _loaded[place].sha256 == sha256:
        return _loaded[place].module
    try:
        code = compile(source, place, "exec", dont_inherit=True)
    except (SyntaxError, ValueError) as error:
        if isinstance(error, SyntaxError) and error.filename:
            raise
        raise ValueError(f"the file {path} cannot be read: {first_line(error)}") from error
    # a name that no import can ask for, so that a random.py replaces nothing
    module = ModuleType(f"file {path.stem} {_sha256(bytes(place))[:8]}")
    module.__file__ = str(place)
    sys.modules[module.__name__] = module
    exec(code, module.__dict__)
    _loaded[place] = Plugin(place, sha256, module)
    return module


def sources(value: object) -> list[dict[str, Any]]:
    """Where the classes in a configuration that are not the toolkit's come from, as `load_sources` reads it: files with
    their sha256, or the module that an entry point names, each with its `classes`. Classes of a program that runs
    without files or entry points, as a notebook does, are left out."""
    found: dict[str, dict[str, Any]] = {}
    for kind in dict.fromkeys(_classes(value)):
        if source := _source(kind):
            found.setdefault(str(source), {**source, "classes": []})["classes"].append(kind.__name__)
    return list(found.values())


def _classes(value: object) -> Iterator[type]:
    """The classes of the dataclasses in a configuration that are not the toolkit's."""
    if isinstance(value, tuple | list):
        for item in value:
            yield from _classes(item)
    elif dataclasses.is_dataclass(value):
        if type(value).__module__.partition(".")[0] not in TOOLKIT:
            yield type(value)
        for field in dataclasses.fields(value):
            yield from _classes(getattr(value, field.name))


def _source(kind: type) -> dict[str, Any] | None:
    for plugin in _loaded.values():
        if kind.__module__ == plugin.module.__name__ or vars(plugin.module).get(kind.__name__) is kind:
            return {"file": str(plugin.path), "sha256": plugin.sha256}
    top = kind.__module__.partition(".")[0]
    modules = [entry.module for entry in _entries()]
    return next(({"module": module} for module in modules if module.partition(".")[0] == top), None)


def load_sources(config: Path, written: Iterable[Mapping[str, Any]]) -> None:
    """Makes the classes known that `config` names as `sources` wrote them.

    A file is run if it is what it was and this user trusts it. Raises ValueError otherwise, naming the file and the
    flag, and for a module that no installed package names, unless files that the command has named have the classes.
    """
    for source in written:
        classes, path = source["classes"], Path(source.get("file", ""))
        if all(any(plugin.has(kind) for plugin in _loaded.values()) for kind in classes):
            continue
        if "module" in source:
            _check_installed(source["module"], f"{config} has classes ({', '.join(classes)})")
            continue
        content = read_bytes(path) if path.is_file() else None
        if why := _refusal(path, source["sha256"], content):
            raise ValueError(
                f"{config} has classes ({', '.join(classes)}) of {path}, which {why}: look at it, and give "
                f"{PLUGIN} {path if content is not None else 'FILE'} to have it run"
            )
        assert content is not None
        _run(path, content)


def _refusal(path: Path, sha256: str, content: bytes | None) -> str:
    if content is None:
        return "is not there"
    if _sha256(content) != sha256:
        return "has changed since"
    return "" if _note(path, sha256).exists() else "no command of yours has named yet"


def _check_installed(module: str, what: str) -> None:
    if not any(entry.module == module for entry in _entries()):
        raise ValueError(
            f"{what} of the module {module}, which no installed package names as an entry point of {GROUP}: install "
            f"the package, or give {PLUGIN} FILE"
        )


@cache
def load_packages() -> None:
    """Imports the modules that installed packages name as entry points."""
    for entry in _entries():
        entry.load()


def _entries() -> list[EntryPoint]:
    from importlib.metadata import entry_points  # which every command would wait for

    return list(entry_points(group=GROUP))


def _trust(path: Path, sha256: str) -> None:
    note = _note(path, sha256)
    if note.exists():
        return
    try:
        write_json(note, {"file": str(path), "sha256": sha256})
    except SaveError as error:
        print(f"nas: cannot note that you trust {path}, later commands need {PLUGIN} {path}: {error}", file=sys.stderr)


def _note(path: Path, sha256: str) -> Path:
    """The file of the list that says that this user trusts a file of this content."""
    try:
        home = Path(os.environ.get("XDG_CONFIG_HOME") or Path("~/.config").expanduser())
    except RuntimeError:  # a user without a home, for whom nothing can be noted
        home = Path(os.devnull)
    return home / "nas-reid" / "trusted" / f"{_sha256(bytes(path) + sha256.encode())}.json"


def _sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()
