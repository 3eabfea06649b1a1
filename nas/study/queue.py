"""The trials of a study as places in a queue: each place is tried until it ends, whatever happens to who tries it.

Optuna's own retries need its relational storage, lose a trial whose worker dies before its first heartbeat, and lose it
again when the retrying process dies between its two steps. Here the state is in the trials alone: a place whose trials
were all lost is open, and whoever comes by puts a new trial there, with the lost one's parameters. When two come by at
the same time, the second trial of a place is dropped as it is claimed.
"""

from __future__ import annotations

import os
import socket
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from functools import reduce
from itertools import count
from threading import Event
from typing import Any

from optuna import Study, Trial
from optuna.exceptions import OptunaError
from optuna.storages import BaseStorage
from optuna.trial import FrozenTrial, TrialState
from sqlalchemy.exc import SQLAlchemyError

from nas.system.background import in_background

LIVE = (TrialState.WAITING, TrialState.RUNNING)
MOST_LOST = 4
"""Workers that a place may cost before it is given up: perhaps it is what kills them."""
BEATS = 6
"""Signs of life within the time after which a trial without one is lost."""


class Queue:
    """`places`: for each what is decided of its parameters beforehand; the sampler decides the rest.

    A trial is lost when it shows no sign of life for `grace_s` seconds of our own clock: the machines' clocks need not
    agree.
    """

    def __init__(self, study: Study, storage: BaseStorage, places: Sequence[Mapping[str, Any]], grace_s: float) -> None:
        self.study, self.storage, self.places, self.grace_s = study, storage, places, grace_s
        self._seen: dict[int, tuple[object, float]] = {}

    def fill(self) -> None:
        """Puts a trial into every open place."""
        taken = self._by_place()
        for place, beforehand in enumerate(self.places):
            trials = taken.get(place, [])
            if not _has_ended(trials) and not any(trial.state in LIVE for trial in trials):
                params = reduce(dict.__or__, (trial.params for trial in trials), dict(beforehand))
                self.study.enqueue_trial(params, user_attrs={"place": place})

    def claim(self) -> Trial | None:
        """A waiting trial that is now ours; None when none waits."""
        study_id = self.storage.get_study_id_from_name(self.study.study_name)
        for waiting in self.study.get_trials(deepcopy=False, states=(TrialState.WAITING,)):
            trial_id = self.storage.get_trial_id_from_study_id_trial_number(study_id, waiting.number)
            try:
                ours = self.storage.set_trial_state_values(trial_id, TrialState.RUNNING)
                if ours and self._is_needed(waiting):
                    trial = Trial(self.study, trial_id)
                    trial.set_user_attr("worker", f"{socket.gethostname()}:{os.getpid()}")
                    return trial
            except OptunaError:  # somebody has finished it meanwhile, or took us for dead
                continue
            if ours:
                self.study.tell(waiting.number, state=TrialState.FAIL)
        return None

    def release_lost(self) -> None:
        """Puts the work of those who show no sign of life back into the queue."""
        now, lost = time.monotonic(), []
        for trial in self.study.get_trials(deepcopy=False, states=(TrialState.RUNNING,)):
            beat, since = self._seen.setdefault(trial.number, (trial.user_attrs.get("beat"), now))
            if beat != trial.user_attrs.get("beat"):
                self._seen[trial.number] = (trial.user_attrs.get("beat"), now)
            elif now - since > self.grace_s:
                lost.append(trial.number)
        for number in lost:
            self.study.tell(number, state=TrialState.FAIL, skip_if_finished=True)
        if lost:
            self.fill()

    @property
    def num_open(self) -> int:
        """Places that have not ended."""
        taken = self._by_place()
        return sum(not _has_ended(taken.get(place, [])) for place in range(len(self.places)))

    @contextmanager
    def heartbeat(self, trial: Trial) -> Iterator[None]:
        """Shows signs of life of `trial` from a thread of its own, whether or not the storage is there to see them."""

        def beat(over: Event) -> None:
            for number in count():
                with suppress(OptunaError, SQLAlchemyError):
                    trial.set_user_attr("beat", number)
                if over.wait(self.grace_s / BEATS):
                    return

        with in_background(beat):
            yield

    def _is_needed(self, trial: FrozenTrial) -> bool:
        """Whether no earlier trial of its place is live or has ended; who enqueues by hand has no place."""
        place = trial.user_attrs.get("place")
        earlier = [other for other in self._by_place().get(place, []) if other.number < trial.number]
        return place is None or not (_has_ended(earlier) or any(other.state in LIVE for other in earlier))

    def _by_place(self) -> dict[int | None, list[FrozenTrial]]:
        found: dict[int | None, list[FrozenTrial]] = {}
        for trial in self.study.get_trials(deepcopy=False):
            found.setdefault(trial.user_attrs.get("place"), []).append(trial)
        return found


def _has_ended(trials: Sequence[FrozenTrial]) -> bool:
    """Whether a place's trials tell what it is worth, or that it is not to be had."""
    told = any(trial.state in (TrialState.COMPLETE, TrialState.PRUNED) or "why" in trial.user_attrs for trial in trials)
    lost = [
        trial
        for trial in trials
        if trial.state == TrialState.FAIL and "worker" in trial.user_attrs and "interrupted" not in trial.user_attrs
    ]
    return told or len(lost) >= MOST_LOST
