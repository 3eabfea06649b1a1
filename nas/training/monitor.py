"""What a stage shows while it computes: a bar on the terminal or a line for each epoch, a file of history, and
TensorBoard's events."""

from __future__ import annotations

import shutil
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from pathlib import Path
from typing import TYPE_CHECKING, Any

from nas.system.files import write_lines
from nas.system.progress import LONGEST, clock, tell
from nas.training.track import track

if TYPE_CHECKING:
    from rich.progress import Progress
    from torch.utils.tensorboard import SummaryWriter


_stages: ContextVar[Mapping[str, float] | None] = ContextVar("stages", default=None)


@contextmanager
def run_stages(epochs: Mapping[str, float]) -> Iterator[None]:
    """Inside, stages are parts of a run, which has these, each with as many epochs still to train: bars say which one
    it is, and when the run will end if an epoch of each takes as long. A run inside a run is a part of that one."""
    token = _stages.set(_stages.get() or epochs)
    try:
        yield
    finally:
        _stages.reset(token)


class Monitor:
    """Shows the stage `name` in a run's `folder`. Only one process does: in those that are not `first` nothing
    happens. `quiet`: there is no bar. `tells`: there are lines for epochs, in the folder's log and, where there is no
    bar, on standard error."""

    def __init__(self, folder: Path, name: str, first: bool, quiet: bool, tells: bool = False) -> None:
        self.folder = folder
        self.name = name
        self.first = first
        self.quiet = quiet
        self.tells = tells and first and not quiet
        self._num_steps = 0
        self._begin = self._told = (0, 0.0)
        self._bar: Progress | None = None
        self._events: SummaryWriter | None = None

    def start(self, step: int, num_steps: int) -> None:
        """Begins at `step` of `num_steps`: opens a bar where there is a terminal."""
        self._num_steps = num_steps
        self._begin = self._told = (step, time.monotonic())
        if self.quiet or not (self.first and sys.stderr.isatty()):
            return
        from rich.console import Console
        from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn
        from rich.table import Column

        self._bar = Progress(
            TextColumn("[bold]{task.description}"),
            BarColumn(bar_width=20),
            MofNCompleteColumn(),
            TextColumn("{task.fields[numbers]}  {task.fields[eta]}", markup=False),
            TextColumn("{task.fields[folder]}", markup=False, table_column=Column(overflow="ellipsis")),
            console=Console(stderr=True),
        )
        names = list(_stages.get() or ())
        part = f" ({names.index(self.name) + 1} of {len(names)})" if self.name in names else ""
        shown: dict[str, Any] = {"numbers": "", "eta": "", "folder": str(self.folder), "shown": 0.0}
        self._bar.add_task(f"{self.name}{part}", completed=step, total=num_steps, **shown)
        self._bar.start()

    def show(self, step: int, numbers: Callable[[], Mapping[str, float]]) -> None:
        """Moves the bar to `step`. It asks for `numbers` once a second at most: they may wait for the device."""
        if self._bar is None:
            return
        task, fields = self._bar.tasks[0], dict[str, Any]()
        if time.monotonic() - task.fields["shown"] > 1:
            text = "  ".join(f"{name.removeprefix('loss.')} {number:.3f}" for name, number in numbers().items())
            fields = {"numbers": text, "eta": self._etas(step), "shown": time.monotonic()}
        self._bar.update(task.id, completed=step, **fields)

    def tell(self, record: Mapping[str, Any], epoch: int, num_epochs: int, step: int) -> None:
        """Says in a line what the history says of the epoch that ended: `epoch` of `num_epochs` and `step` are done."""
        if not self.tells:
            return
        (before, since), self._told = self._told, (step, time.monotonic())
        pace = (self._told[1] - since) / max(step - before, 1)
        line = epoch_line(f"{self.name} {epoch}/{num_epochs}", record, pace, self._left(step))
        tell(line, self.folder, shown=self._bar is None)
        if "stopped" in record:
            tell(f"{self.name} ended: {record['stopped']}", self.folder, shown=self._bar is None)

    def _left(self, step: int) -> float:
        """The seconds that the stage still takes, if it goes on as it did since it began."""
        begin, since = self._begin
        return (time.monotonic() - since) / max(step - begin, 1) * (self._num_steps - step)

    def _etas(self, step: int) -> str:
        """Of the stage and, where others follow, of the run."""
        left, stages = self._left(step), _stages.get() or {}
        text = f"eta {clock(left)}"
        if self.name not in stages or step >= self._num_steps:
            return text
        names = list(stages)
        later = sum(stages[name] for name in names[names.index(self.name) + 1 :])
        of_stage = left / (1 - step / self._num_steps)
        return f"{text}, run {clock(left + of_stage * later / stages[self.name])}" if stages[self.name] else text

    def publish(self, history: list[dict], again: bool = False) -> None:
        """Writes the history, and its last line as TensorBoard events, which a tracker is told, too. `again`: all
        lines, in place of the events that are there, as these may have gone further than the checkpoint that the
        history comes from."""
        if not self.first:
            return
        folder = self.folder / "tensorboard" / self.name
        if again:
            shutil.rmtree(folder, ignore_errors=True)
        if not history:
            return
        write_lines(self.folder / f"{self.name}.history.jsonl", history)
        if self._events is None:
            from torch.utils.tensorboard import SummaryWriter

            self._events = SummaryWriter(str(folder))
        for line in history if again else history[-1:]:
            numbers = dict(_scalars(line))
            for name, number in numbers.items():
                self._events.add_scalar(name, number, line["epoch"])
            track(self.folder, self.name, line["epoch"], numbers)
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


def epoch_line(begin: str, record: Mapping[str, Any], pace: float, left: float) -> str:
    """A line of at most `LONGEST` columns on a line of history: `name value` in a fixed order, two blanks between.

    `pace`: seconds that a step took; `left`: seconds to the end. The parts of a loss and the learning rate are left
    out where they do not fit.
    """
    tried = "score" in record or "retrained" in record
    took = f"{_short(record.get('seconds', pace))} s/trial" if tried else f"{_short(pace)} s/step"
    texts = [*_numbers(record), (True, took), (True, f"eta {clock(left)}")]
    room = LONGEST - len(begin) - sum(2 + len(text) for needed, text in texts if needed)
    kept = [begin]
    for needed, text in texts:
        if needed or (room := room - 2 - len(text)) >= 0:
            kept.append(text)
    return "  ".join(kept)


def _numbers(record: Mapping[str, Any]) -> Iterator[tuple[bool, str]]:
    """What a line of history says of its epoch, and whether it may not be left out."""
    losses = {name: value for name, value in record.items() if isinstance(value, Mapping) and "total" in value}
    main = next((name for name in ("loss", "weight") if name in losses), "")
    if main:
        yield True, f"loss {_short(losses[main]['total'])}"
    for name, value in losses.items():
        if name != main:
            yield True, f"{name} {_short(value['total'])}"
    parts = {name: value for name, value in losses.get(main, {}).items() if name != "total"}
    for name, value in parts.items() if len(parts) > 1 else ():
        yield False, f"{name} {_short(value)}"
    measure = record.get("measure", "mAP")
    for name, key in (("mAP", "mAP"), (measure, "score"), ("mAP", "retrained"), ("best", "best")):
        if key in record:
            yield True, f"{name} {_short(record[key]) if measure != 'mAP' else f'{100 * record[key]:.1f}'}"
    for name, key in (("top-1", "top1"), ("top-5", "top5")):
        if key in record:
            yield True, f"{name} {100 * record[key]:.1f}"
    if record.get("pruned"):
        yield True, "pruned"
    if record.get("temperature") is not None:
        yield True, f"T {record['temperature']:.2f}"
    if "lr" in record:
        yield False, f"lr {record['lr']:.1e}"


def _short(number: float) -> str:
    """Three digits that count."""
    return f"{number:#.3g}".removesuffix(".")
