"""What every command takes that brings a network to a user's own images."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal, TypeVar

import tyro

from nas.cli.commands import COMMANDS
from nas.cli.parse import parse
from nas.models.extractor import Extractor
from nas.stages.use_network import open_extractor
from search_spaces.ranges import Count, NonNegative, Pixels, Ranged


@dataclass(frozen=True, kw_only=True)
class NetworkOptions(Ranged):
    """Which network is used, and how."""

    network: Annotated[Path, tyro.conf.Positional, tyro.conf.arg(metavar="RUN|FILE")]
    """The folder of a run, or a network's file: .safetensors, .onnx or .xml (OpenVINO)."""
    height: Pixels | None = None
    """Height of the images that a network takes whose file does not say, in pixels."""
    width: Pixels | None = None
    """Width of the images that a network takes whose file does not say, in pixels."""
    batch_size: Count = 128
    """Images in a forward pass."""
    device: Literal["auto", "cpu", "cuda"] = "auto"
    """Where the network runs; auto: a GPU if there is one. ONNX and OpenVINO files run on the CPU."""
    max_gib: NonNegative = 8.0
    """Memory for decoded images, in GiB; what does not fit is decoded twice."""
    json: Annotated[bool, tyro.conf.arg(help="print only JSON on standard output")] = False

    def open(self) -> Extractor:
        """The network, as these options say."""
        return open_extractor(
            self.network,
            height=self.height,
            width=self.width,
            batch_size=self.batch_size,
            device=self.device,
            max_gib=self.max_gib,
        )


Given = TypeVar("Given", bound=NetworkOptions)


def parse_options(kind: type[Given], word: str, arguments: list[str]) -> Given:
    """What the command line of `nas WORD` says."""
    command = COMMANDS[word]
    about = f"{command.help[:1].upper()}{command.help[1:]}.\n\nExample: {command.example}"
    return parse(kind, arguments, prog=f"nas {word}", description=about, config=(tyro.conf.FlagCreatePairsOff,))
