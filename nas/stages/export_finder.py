"""A network for person search as a file, held against the network on frames of the run's test split."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch
from torch import Tensor, nn
from torchvision.ops import box_iou

from nas.models.card import Card
from nas.models.finder_file import open_finder
from nas.models.network_files import time_files
from nas.models.onnx import noise
from nas.models.onnx_export import as_onnx, outputs_of, with_card
from nas.models.openvino_export import write_openvino
from nas.run import Run
from nas.stages.export_check import LARGEST_DIFFERENCE
from nas.stages.export_form import Form, Written, described
from nas.system.files import write_bytes
from nas.system.progress import timed
from nas.tasks.base import FindsPersons, TakesFrames

NUM_FRAMES = 16
SAME = 0.99
"""Least IoU of a person in the file and in the network."""
MOST_MISSED = 0.01
"""Share of the persons that one of the two may find alone: at a threshold rounding decides."""

Finder = Callable[[Tensor], Sequence[Tensor]]


def export_finder(run: Run, path: Path, deployed: FindsPersons, form: Form, card: Card) -> dict[str, Any]:
    """Writes it to `path`; returns what was measured, see `nas.stages.export.export`."""
    if deployed.needs_query:
        raise ValueError(
            f"a file takes one image, and the {form.network} compares it with a query: export a network that needs no "
            "query, such as one that learns this one's identity table (--loss kd_reid)"
        )
    kept = {name: getattr(form, name) for name in ("network", "tolerance", "no_measure", "rows")}
    if form.format == "pt2" or form != Form(format=form.format, **kept):
        raise ValueError(
            "a network for person search is exported with --format onnx or openvino and --precision fp32, at the run's "
            "size and without --with-preprocessing"
        )
    net = deployed.finder(num_rows=form.rows)
    images = None if form.no_measure else _frames(run, card)
    with TemporaryDirectory() as folder:
        with timed(f"{form.network} as {form.format}", run.folder):
            written = write(net, Path(folder) / f"network{form.ending}", form, card)
            # Few frames have somebody in them for each of the file's operations: with a least score of 0 all have.
            everybody = deployed.finder(least_score=0.0, num_rows=form.rows)
            files = {net: written, everybody: write(everybody, Path(folder) / f"everybody{form.ending}", form, card)}
        shown = noise(2, card.height, card.width, card.takes) if images is None else images
        found = [compared(open_finder(file.path), of, shown) for of, file in files.items()]
        parity = {
            "images": "random" if images is None else len(images),
            "persons": found[0]["persons"],
            "missed": sum(each["missed"] for each in found),
            "largest_difference": max(each["largest_difference"] for each in found),
        }
        _check(parity, sum(each["persons"] for each in found), outputs_of(net))
        said = described(path, form, card) | {
            "exporter": written.exporter,
            "images": [1, 3, card.height, card.width],
            "outputs": list(outputs_of(net)),
            "num_rows": form.rows,
            "parity": parity,
            "rows": [] if images is None else [_timed(written, form, card, images[:1])],
            "good": True,
            "remarks": [],
        }
        written.hand_over(path, said)
    return said


def compared(file: Finder, net: nn.Module, images: Tensor) -> dict[str, Any]:
    """What a file and the network find in images `[N, 3, H, W]`: `persons`, the network's; how many one of the two
    `missed`; and of the others the `largest_difference`, of numbers above 1, such as boxes, as a share."""
    persons, missed, largest = 0, 0, 0.0
    for image in images.split(1):
        with torch.no_grad():
            expected, said = (_there(found) for found in (net(image), file(image)))
        overlaps = box_iou(expected[0], said[0])
        same = (overlaps >= SAME).nonzero()
        first, second = same.unbind(1)
        persons += len(overlaps)
        missed += len(overlaps) - len(first.unique()) + overlaps.shape[1] - len(second.unique())
        for one, other in zip(expected, said, strict=True):
            differences = (one[first] - other[second]).abs() / one[first].abs().clamp_min(1)
            largest = max([largest, *differences.flatten().tolist()])
    return {"persons": persons, "missed": missed, "largest_difference": largest}


def _there(found: Sequence[Tensor]) -> list[Tensor]:
    """The rows that have a person."""
    return [each[found[1] > 0] for each in found]


def _check(parity: dict[str, Any], num_persons: int, outputs: Sequence[str]) -> None:
    if parity["missed"] > MOST_MISSED * num_persons:
        raise ValueError(
            f"the file must find the persons that the network finds, and of {num_persons} one of the two alone finds "
            f"{parity['missed']}: nothing is written"
        )
    if not parity["largest_difference"] <= LARGEST_DIFFERENCE:
        raise ValueError(
            f"the file's {', '.join(outputs)} must be within {LARGEST_DIFFERENCE:g} of the network's, they differ by "
            f"{parity['largest_difference']:.2g}: nothing is written"
        )


def _frames(run: Run, card: Card) -> Tensor | None:
    """Frames of the test split; None where none is of the file's size. Raises ValueError when they cannot be read."""
    task = run.recipe.task
    assert isinstance(task, TakesFrames)
    try:
        frames = task.frames(run.recipe.data.load(), run.recipe, NUM_FRAMES, (card.height, card.width))
    except (ValueError, OSError) as error:
        raise ValueError(f"the run's data set cannot be read ({error}): --no-measure exports without it") from error
    return frames if len(frames) else None


def write(net: nn.Module, path: Path, form: Form, card: Card) -> Written:
    content = as_onnx(net, card.height, card.width)
    if form.format == "onnx":
        write_bytes(path, with_card(content, card))
    else:
        source = path.with_suffix(".onnx")
        write_bytes(source, content)
        write_openvino(source, path, card)
    return Written(path, "tracing")


def _timed(written: Written, form: Form, card: Card, image: Tensor) -> dict[str, Any]:
    """The file's row of the table."""
    [times], conditions = time_files([written.path], card, image)
    batches = {str(size): asdict(timing) for size, timing in times.items()}
    timing = conditions.to_dict() | {"height": card.height, "width": card.width, "batches": batches}
    return {
        "name": f"{form.format} {form.precision}",
        "ms_per_image_1": times[1].median,
        "bytes": written.num_bytes,
        "timing": timing,
    }
