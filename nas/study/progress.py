"""What a study says of its trials while others, or this process, work at them."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from threading import Event

from optuna import Study
from optuna.trial import FrozenTrial, TrialState

from nas.study.storage import UNREACHABLE, reached
from nas.system.background import in_background
from nas.system.progress import clock, tell

TELL_S = 5.0
"""Between looks at which trials have ended."""
ENDED = (TrialState.COMPLETE, TrialState.PRUNED, TrialState.FAIL)


@contextmanager
def watching(say: Callable[[], object], address: str) -> Iterator[None]:
    """Calls `say`, which says what has ended since, every few seconds while inside, and at the end; `address`: of the
    storage, which may be away meanwhile."""

    def watch(over: Event) -> None:
        while not over.wait(TELL_S):
            with suppress(*UNREACHABLE):  # who works at the trials will say so
                say()

    with in_background(watch):
        yield
    with reached(address):
        say()


class TrialProgress:
    """Says a line for each trial that ends from here on; in `folder`'s log, too."""

    def __init__(self, study: Study, num_trials: int, folder: Path) -> None:
        self.study, self.num_trials, self.folder = study, num_trials, folder
        self._told = {trial.number for trial in self._ended()}
        self._since, self._before = time.monotonic(), len(self._told)

    def tell(self) -> None:
        """Says what has ended since the last call."""
        for trial in self._ended():
            if trial.number not in self._told:
                self._told.add(trial.number)
                tell(self._line(trial), self.folder)

    def _ended(self) -> list[FrozenTrial]:
        """The trials that count: what a lost worker had begun is done again."""
        trials = self.study.get_trials(deepcopy=False, states=ENDED)
        return [trial for trial in trials if trial.state != TrialState.FAIL or "why" in trial.user_attrs]

    def _line(self, trial: FrozenTrial) -> str:
        done, score = len(self._told), trial.user_attrs.get("score", {})
        values = [other.user_attrs["score"]["mAP"] for other in self._ended() if other.state == TrialState.COMPLETE]
        texts = [f"tune {done}/{self.num_trials}", f"trial {trial.number}"]
        texts += [f"mAP {100 * score['mAP']:.1f}"] if score else []
        texts += [f"best {100 * max(values):.1f}"] if values else []
        texts += {TrialState.PRUNED: ["pruned"], TrialState.FAIL: ["failed"]}.get(trial.state, [])
        texts += [f"{score['minutes']:.1f} min"] if score else []
        each = (time.monotonic() - self._since) / max(done - self._before, 1)
        return "  ".join([*texts, f"eta {clock(each * (self.num_trials - done))}"])
