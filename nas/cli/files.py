"""The files that a command wrote, as every command ends with them."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

WHAT = {
    "config.json": "run configuration",
    "environment.json": "run environment",
    "log.txt": "run log",
    "teacher.safetensors": "teacher weights",
    "architecture.json": "found architecture",
    "architectures.json": "ranked architectures",
    "student.safetensors": "student weights",
    "baseline.safetensors": "baseline weights",
    "features": "saved features",
    "queries": "query tables",
    "strips": "query pictures",
    "sheets": "detection sheets",
    "plots": "result plots",
    "wandb": "wandb runs",
    "mlruns": "MLflow runs",
    "thumbnails": "small images",
    "metrics.json": "evaluation metrics",
    "trials.csv": "trial table",
    "trials.json": "trial data",
    "tuned.json": "tuned settings",
    "ablation.json": "ablation data",
    "random-cell.json": "random architecture",
    "random-cell.safetensors": "random-cell weights",
    "taught-baseline.safetensors": "taught-baseline weights",
    "compare.json": "comparison data",
    "compare.md": "comparison text",
    "table.json": "table data",
    "table.md": "table page",
    "report.html": "report page",
    "tuning.html": "report page",
    "compare.html": "report page",
    "ablation.html": "report page",
}
"""What files are, in two words, in the order in which they are printed. Other files come before the pages, described by
their endings."""
ENDINGS = {
    ".svg": "SVG picture",
    ".png": "PNG picture",
    ".onnx": "ONNX network",
    ".xml": "OpenVINO network",
    ".bin": "OpenVINO weights",
    ".pt2": "torch.export network",
    ".json": "JSON file",
    ".safetensors": "saved weights",
}
WORKING = (".ckpt", ".jsonl", ".lock", ".db", ".flock", ".sha256", ".journal", ".tmp")
"""Endings of files that a command needs to resume; they are not listed."""


class Files:
    """What a command writes into `folder`, from here on."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._before = self._entries()

    def written(self, results: Iterable[Path] = ()) -> list[tuple[str, Path]]:
        """The folder, and what in it was written, with the `results` that were there before: what it is, and where."""
        new = [self.folder / name for name, when in self._entries().items() if self._before.get(name) != when]
        paths = {path.absolute(): path for path in (*new, *results) if path.exists()}
        paths.pop(self.folder.absolute(), None)
        said = sorted(((what(path), path) for path in paths.values()), key=lambda each: (_place(each[1]), each[1].name))
        return [("results folder", self.folder), *said] if self.folder.is_dir() else said

    def _entries(self) -> dict[str, int]:
        """When what lies in the folder was written, but for what stages need to go on and for runs of their own."""
        if not self.folder.is_dir():
            return {}
        return {path.name: path.stat().st_mtime_ns for path in self.folder.iterdir() if _is_said(path)}


def say(said: Mapping[str, Any], files: Iterable[tuple[str, Path]], as_json: bool) -> None:
    """Everything as JSON, with the files as `files`; or for people a line for each file, as they have been shown what
    else there is."""
    if as_json:
        print(json.dumps({**said, "files": [openable(path) for _, path in files]}, indent=2))
    else:
        print("\n".join(f"{name}: {openable(path)}" for name, path in files))


def what(path: Path) -> str:
    """In two words what a file or a folder is."""
    return WHAT.get(path.name) or ENDINGS.get(path.suffix) or ("further folder" if path.is_dir() else "further file")


def openable(path: Path) -> str:
    """The path from the working folder, where it is inside, or in full."""
    whole = path.absolute()
    return str(whole.relative_to(Path.cwd()) if whole.is_relative_to(Path.cwd()) else whole)


def _place(path: Path) -> float:
    """Where a path is said: as `WHAT` has it; what that does not have comes before the first page."""
    names = list(WHAT)
    return names.index(path.name) if path.name in WHAT else names.index("metrics.json") + 0.5


def _is_said(path: Path) -> bool:
    is_run = path.is_dir() and (path / "config.json").exists()
    kept = path.name in ("tensorboard", "workers", "trials") or path.name.endswith(".trials")
    return not (is_run or kept or path.name.startswith(".") or path.suffix in WORKING)
