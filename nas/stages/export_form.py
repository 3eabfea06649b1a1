"""In which form a network is exported: what can be asked for, and the files of it."""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from importlib.util import find_spec
from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np
import torch
from torch import nn

from nas.models.card import Card
from nas.models.deployed_input import Half, Preprocessed
from nas.models.network_files import FORMATS, write_program
from nas.models.onnx_export import as_program, export_onnx, with_card
from nas.models.openvino_export import write_openvino
from nas.models.quantise import candidates, halved, prepare, quantised
from nas.system.files import write_bytes, write_json
from search_spaces.deploy import deploy
from search_spaces.ranges import Count, Name, Pixels, Range, Ranged

FORMAT = 1
PACKAGES = {
    "onnx": (("onnx", "onnxruntime", "onnxscript"), "pip install onnx onnxruntime onnxscript"),
    "openvino": (("openvino",), "pip install 'nas-reid[deploy]'"),
    "pt2": ((), ""),
}
"""What each format needs, and how it is installed."""


@dataclass(frozen=True, kw_only=True)
class Form(Ranged):
    """What is exported, in which form, and how far it may be from the network."""

    network: Name = "student"
    """Which of the run's networks: student, baseline, teacher or a control."""
    format: Literal["onnx", "openvino", "pt2"] = "onnx"
    """Format of the file; pt2 is torch.export's."""
    precision: Literal["fp32", "fp16", "int8"] = "fp32"
    """Precision of weights and computation; int8 quantises those layers that measurements choose."""
    height: Pixels | None = None
    """Height of the images that the file takes, in pixels; by default the run's."""
    width: Pixels | None = None
    """Width of the images that the file takes, in pixels; by default the run's."""
    with_preprocessing: bool = False
    """The file takes pixels (uint8) and normalises them itself; its features have length 1."""
    calibration: Count = 128
    """Training images that the ranges of int8 are measured on."""
    tolerance: Annotated[float, Range(least=0, most=100)] = 1.0
    """Points of mAP that the file may lose; if it loses more, it is not written, and the exit status is 1."""
    rows: Count | None = None
    """Of a network for person search: rows of the file's answer, those without a person with a score of 0; None: as
    many as there are persons."""
    no_measure: bool = False
    """Compare the file with the network on random images alone; for int8 the fastest candidate is taken."""

    def check(self) -> None:
        """Raises ValueError for a form that does not exist, and naming the packages that are missing, and how they are
        installed."""
        if self.format == "pt2" and self.precision == "int8":
            raise ValueError("--format pt2 takes --precision fp32 or fp16: int8 needs --format onnx or openvino")
        for kind in dict.fromkeys(("onnx", self.format) if self.format != "pt2" else ("pt2",)):
            names, how = PACKAGES[kind]
            if missing := [name for name in names if not find_spec(name)]:
                raise ValueError(f"--format {self.format} needs the package {' and '.join(missing)}: {how}")

    @property
    def ending(self) -> str:
        return FORMATS[self.format]

    def path_in(self, folder: Path) -> Path:
        """The file's place where the user names none, such as `student-int8.onnx`."""
        return folder / f"{self.network}{'' if self.precision == 'fp32' else f'-{self.precision}'}{self.ending}"


def files_of(path: Path) -> list[Path]:
    """What one export writes: the file, OpenVINO's weights, and what was measured."""
    weights = [path.with_suffix(".bin")] if path.suffix == FORMATS["openvino"] else []
    return [*weights, path, path.with_name(f"{path.name}.json")]


def described(path: Path, form: Form, card: Card) -> dict[str, Any]:
    """What is said of every file."""
    return {
        "format": FORMAT,
        "file": path.name,
        "network": card.network,
        "form": form.format,
        "precision": card.precision,
        "takes": card.takes,
        "embedding_size": card.embedding_size,
    }


@dataclass
class Written:
    """A form of a network in files, so far in a folder that goes away."""

    path: Path
    exporter: str
    remarks: list[str] = field(default_factory=list)

    @property
    def num_bytes(self) -> int:
        return sum(each.stat().st_size for each in files_of(self.path) if each.exists() and each.suffix != ".json")

    def hand_over(self, path: Path, said: Mapping[str, Any]) -> None:
        """Brings the files to their place, what was measured first and the network last."""
        *weights, _, measured = files_of(path)
        write_json(measured, said)
        for target in (*weights, path):
            write_bytes(target, self.path.with_suffix(target.suffix).read_bytes())


class Exporter:
    """Writes the forms of one network into a folder.

    net: gives features of normalised images. What is written is its deployed form (`search_spaces/deploy.py`).
    """

    def __init__(self, net: nn.Module, form: Form, card: Card, folder: Path) -> None:
        self.form, self.card, self.folder = form, card, folder
        net = deploy(net, torch.zeros(2, 3, card.height, card.width))
        self.net = Preprocessed(net) if form.with_preprocessing else net
        self.half = self._half(net) if (form.format, form.precision) == ("pt2", "fp16") else None
        if form.format != "pt2":
            self.onnx, self.exporter, self.why = export_onnx(self.net, card.height, card.width, card.takes)

    def _half(self, net: nn.Module) -> nn.Module:
        half = Half(copy.deepcopy(net))
        return Preprocessed(half) if self.form.with_preprocessing else half

    def write(self, precision: Literal["fp32", "fp16"]) -> Written:
        """The network in one precision throughout."""
        card = self._card(precision)
        path = self.folder / f"{precision}{self.form.ending}"
        if self.form.format == "pt2":
            net = self.half if precision == "fp16" and self.half is not None else self.net
            write_program(as_program(net, card.height, card.width, card.takes), path, card)
            return Written(path, "torch.export")
        halve = precision == "fp16" and self.form.format == "onnx"
        return self._from_onnx(halved(self.onnx) if halve else self.onnx, path, card)

    def candidates(self) -> Mapping[str, Sequence[str]]:
        """What of the network may be quantised: names of layers, by what they are called together."""
        self.source.write_bytes(self.onnx)
        prepare(self.source, self.prepared)
        return candidates(self.prepared)

    def write_quantised(self, what: str, layers: Sequence[str], images: np.ndarray) -> Written:
        """The network with these layers in int8, calibrated on `images` as the file takes them."""
        made = self.folder / "quantised.onnx"
        quantised(self.prepared, layers, images, made)
        path = self.folder / f"int8-{what.replace(' ', '-').replace(',', '')}{self.form.ending}"
        return self._from_onnx(made.read_bytes(), path, self._card("int8"))

    @property
    def source(self) -> Path:
        return self.folder / "source.onnx"

    @property
    def prepared(self) -> Path:
        return self.folder / "prepared.onnx"

    def _card(self, precision: Literal["fp32", "fp16", "int8"]) -> Card:
        return replace(self.card, precision=precision)

    def _from_onnx(self, content: bytes, path: Path, card: Card) -> Written:
        remarks = [f"torch's newer exporter failed, tracing wrote it: {self.why}"] if self.why else []
        if self.form.format == "onnx":
            write_bytes(path, with_card(content, card))
        else:
            self.source.write_bytes(content)
            write_openvino(self.source, path, card)
        return Written(path, self.exporter, remarks)
