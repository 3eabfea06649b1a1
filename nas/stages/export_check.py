"""An exported file against the network that it was made from: features, mAP, milliseconds, bytes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from nas.data.augment import normalise
from nas.models.card import Card
from nas.models.network_files import open_file, time_files
from nas.models.onnx import noise
from nas.stages.export_data import ExportData
from nas.stages.export_form import Exporter, Form, Written
from nas.tasks.base import Retrieved
from search_spaces.cost.latency import Timing

LARGEST_DIFFERENCE = 1e-4
"""Between a feature of an fp32 file and the network's, of numbers above 1 as a share."""
LEAST_COSINE = 0.999
"""Of an image's feature of an fp16 file and the network's."""
NOTHING = "nothing"
"""The candidate of int8 that quantises no layer: the file in fp32, for comparison alone."""


@dataclass(frozen=True)
class Reference:
    """The network that files are held against. What it finds is None where nothing is measured."""

    net: nn.Module
    """Takes normalised images."""
    name: str
    found: Retrieved | None = None
    """On the test split, at the file's size."""
    own: Retrieved | None = None
    """On the test split, at the size that the network was trained for."""

    @classmethod
    def of(cls, net: nn.Module, name: str, data: ExportData | None) -> Reference:
        if data is None:
            return cls(net, name)
        own = data.find_at_own_size(net, name)
        return cls(net, name, own if data.recipe == data.own else data.find(net, name), own)

    def fall(self, found: Retrieved) -> float:
        """The points of mAP that a file loses."""
        assert self.own is not None
        return 100 * (self.own.mAP - found.mAP)


@dataclass
class Made:
    """A file, what it finds on the test split, and what was tried on the way, a row for each candidate of int8."""

    written: Written
    found: Retrieved | None = None
    candidates: list[dict[str, Any]] = field(default_factory=list)


def parity(file: nn.Module, found: Retrieved | None, reference: Reference, card: Card) -> dict[str, Any]:
    """How a file's features differ from the network's: on the test split where it was measured, otherwise on random
    images in batches of 1 and 3.

    Raises ValueError where they differ by more than rounding does, of files in fp32 and fp16.
    """
    if found is None or reference.found is None:
        batches = [noise(size, card.height, card.width, card.takes) for size in (1, 3)]
        with torch.no_grad():
            said = torch.cat([file(images) for images in batches])
            expected = torch.cat([reference.net(_normalised(images, card)) for images in batches])
    else:
        said, expected = found.features, reference.found.features
    if card.takes == "uint8":
        expected = F.normalize(expected)
    result = {
        "images": "random" if found is None else len(said),
        "largest_difference": ((said - expected).abs() / expected.abs().clamp_min(1)).max().item(),
        "least_cosine": F.cosine_similarity(said, expected).min().item(),
    }
    _check(result, card)
    if found is not None and reference.found is not None:
        result["same_first"] = (found.first == reference.found.first).float().mean().item()
    return result


def _normalised(images: Tensor, card: Card) -> Tensor:
    return normalise(images) if card.takes == "uint8" else images


def _check(result: Mapping[str, Any], card: Card) -> None:
    difference, cosine, of = result["largest_difference"], result["least_cosine"], f"of {result['images']} images"
    if card.precision == "fp32" and not difference <= LARGEST_DIFFERENCE:
        raise ValueError(
            f"the file's features must be within {LARGEST_DIFFERENCE:g} of the network's, those {of} differ by "
            f"{difference:.2g}: nothing is written"
        )
    if card.precision == "fp16" and not cosine > LEAST_COSINE:
        raise ValueError(
            f"the cosine of the file's features and the network's must be above {LEAST_COSINE:g}, {of} the least is "
            f"{cosine:.4f}: nothing is written; --precision fp32 keeps them"
        )


def make(exporter: Exporter, form: Form, data: ExportData | None, reference: Reference) -> Made:
    """The file in the form that is asked for, measured on the test split where the reference is."""
    if form.precision == "int8":
        assert data is not None
        return _choose_quantised(exporter, form, data, reference)
    made = Made(exporter.write(form.precision))
    if data and reference.found:
        made.found = data.find(open_file(made.written.path, exporter.card), f"{form.format} {form.precision}")
    return made


def _choose_quantised(exporter: Exporter, form: Form, data: ExportData, reference: Reference) -> Made:
    """The fastest file with quantised layers that keeps the mAP; where none keeps it, the one that loses least.
    Where nothing is measured, the fastest one."""
    card, images, layers = exporter.card, data.calibration(form.calibration).numpy(), exporter.candidates()
    if not layers:
        raise ValueError("int8 quantises layers with weights, and the network has none: take --precision fp32")
    written = {NOTHING: exporter.write("fp32")}
    written |= {what: exporter.write_quantised(what, names, images) for what, names in layers.items()}
    times, _ = time_files([each.path for each in written.values()], card)
    rows = {
        what: row(what, None, ms, written[what].num_bytes) | {"layers": len(layers.get(what, ()))}
        for what, ms in zip(written, times, strict=True)
    }
    order = sorted(layers, key=lambda what: rows[what]["ms_per_image_1"])
    found: dict[str, Retrieved] = {}
    chosen = order[0]
    for what in order if reference.found else ():
        found[what] = data.find(open_file(written[what].path, card), f"{form.format} int8, {what}")
        rows[what] |= {"mAP": found[what].mAP, "rank1": found[what].rank1}
        chosen = max(found, key=lambda each: found[each].mAP)
        if reference.fall(found[what]) <= form.tolerance:
            chosen = what
            break
    rows[chosen] |= {"chosen": True, "names": list(layers[chosen])}
    return Made(written[chosen], found.get(chosen), list(rows.values()))


def row(name: str, found: Retrieved | None, times: Mapping[int, Timing], num_bytes: int | None) -> dict[str, Any]:
    """A form of a network in the table."""
    accuracy = {"mAP": found.mAP, "rank1": found.rank1} if found else {}
    medians = {f"ms_per_image_{size}": timing.median for size, timing in times.items()}
    return {"name": name, **accuracy, **medians, "bytes": num_bytes}


def table_rows(exporter: Exporter, form: Form, made: Made, reference: Reference) -> list[dict[str, Any]]:
    """The network, its file in fp32 and the file that is asked for, timed in turns, with what the times hold for."""
    card, size = exporter.card, f"{exporter.card.height}x{exporter.card.width}"
    rows = [row(f"{reference.name}, torch", reference.own, {}, None)]
    if reference.own is not reference.found:
        rows.append(row(f"{reference.name}, torch, {size}", reference.found, {}, None))
    files = [(f"{form.format} {form.precision}", made.written, made.found)]
    if form.precision != "fp32":
        files.insert(0, (f"{form.format} fp32", exporter.write("fp32"), None))
    times, conditions = time_files([written.path for _, written, _ in files], card)
    for (name, written, found), timings in zip(files, times, strict=True):
        timing = conditions.to_dict() | {"height": card.height, "width": card.width}
        timing["precision"] = "fp32" if written is not made.written else form.precision
        timing["batches"] = {str(batch): asdict(each) for batch, each in timings.items()}
        rows.append(row(name, found, timings, written.num_bytes) | {"timing": timing})
    return rows
