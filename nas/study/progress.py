"""What a study says of its trials while others, or this process, work at them."""

from __future__ import annotations

import time
from pathlib import Path

from optuna import Study
from optuna.trial import FrozenTrial, TrialState

from nas.system.progress import clock, tell

ENDED = (TrialState.COMPLETE, TrialState.PRUNED, TrialState.FAIL)


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
