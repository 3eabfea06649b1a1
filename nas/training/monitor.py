"""What a stage shows while it computes: a bar on the terminal, a file of history, and TensorBoard's events."""

from __future__ import annotations

import json
import shutil
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from nas.system.files import write_text

if TYPE_CHECKING:
    from rich.progress import Progress
    from torch.utils.tensorboard import SummaryWriter


class Monitor:
    """Shows the stage `name` in a run's `folder`. Only one process does: in those that are not `first` nothing
    happens. `quiet`: there is no bar."""

    def __init__(self, folder: Path, name: str, first: bool, quiet: bool) -> None:
        self.folder = folder
        self.name = name
        self.first = first
        self.quiet = quiet
        self._bar: Progress | None = None
        self._events: SummaryWriter | None = None

    def start(self, step: int, num_steps: int) -> None:
        """Opens a bar at `step` of `num_steps` where there is a terminal."""
        if self.quiet or not (self.first and sys.stderr.isatty()):
            return
        from rich.console import Console
        from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

        self._bar = Progress(
            TextColumn("[bold]{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TimeRemainingColumn(),
            TextColumn("{task.fields[numbers]}"),
            console=Console(stderr=True),
        )
        self._bar.add_task(self.name, completed=step, total=num_steps, numbers="", shown=0.0)
        self._bar.start()

    def show(self, step: int, numbers: Callable[[], Mapping[str, float]]) -> None:
        """Moves the bar to `step`. It asks for `numbers` once a second at most: they may wait for the device."""
        if self._bar is None:
            return
        task, fields = self._bar.tasks[0], dict[str, Any]()
        if time.monotonic() - task.fields["shown"] > 1:
            text = "  ".join(f"{name.removeprefix('loss.')} {number:.3f}" for name, number in numbers().items())
            fields = {"numbers": text, "shown": time.monotonic()}
        self._bar.update(task.id, completed=step, **fields)

    def publish(self, history: list[dict], again: bool = False) -> None:
        """Writes the history, and its last line as TensorBoard events. `again`: all lines, in place of the events that
        are there, as these may have gone further than the checkpoint that the history comes from."""
        if not self.first:
            return
        folder = self.folder / "tensorboard" / self.name
        if again:
            shutil.rmtree(folder, ignore_errors=True)
        if not history:
            return
        lines = "".join(json.dumps(line, ensure_ascii=False) + "\n" for line in history)
        write_text(self.folder / f"{self.name}.history.jsonl", lines)
        if self._events is None:
            from torch.utils.tensorboard import SummaryWriter

            self._events = SummaryWriter(str(folder))
        for line in history if again else history[-1:]:
            for name, number in _scalars(line):
                self._events.add_scalar(name, number, line["epoch"])
        self._events.flush()

    def close(self) -> None:
        """Takes the bar off the terminal and closes the events; closing twice does nothing."""
        if self._events is not None:
            self._events.close()
            self._events = None
        if self._bar is not None:
            self._bar.stop()
            self._bar = None


def _scalars(record: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, float]]:
    """The numbers in a line of history, by TensorBoard's names `a/b`."""
    for key, value in record.items():
        if isinstance(value, Mapping):
            yield from _scalars(value, f"{prefix}{key}/")
        elif isinstance(value, int | float):
            yield f"{prefix}{key}", value
