"""The engine of every study: whoever takes part claims a trial, works at it, and tells what it is worth.

A study is a row of places, and each place is tried until it ends, whatever happens to who tries it. Optuna's own
retries need its relational storage, lose a trial whose worker dies before its first heartbeat, and lose it again when
the retrying process dies between its two steps. Here the state is in the trials alone: a place whose trials were all
lost is open, and whoever comes by puts a new trial there, which tries the same. When two come by at the same time, the
second trial of a place is dropped as it is claimed.
"""

from __future__ import annotations

import os
import socket
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from functools import partial
from itertools import count
from threading import Event
from typing import Any

from optuna import Study, Trial
from optuna.exceptions import OptunaError, UpdateFinishedTrialError
from optuna.storages import BaseStorage
from optuna.trial import FrozenTrial, TrialState

from nas.errors import NonFiniteLoss
from nas.study.storage import UNREACHABLE, retry
from nas.system.background import in_background
from nas.system.processes import is_gone, process_name

LIVE = (TrialState.WAITING, TrialState.RUNNING)
ENDED = (TrialState.COMPLETE, TrialState.PRUNED)
MOST_LOST = 4
"""Workers that a place may cost before it is given up: perhaps it is what kills them."""
BEATS = 6
"""Signs of life within the time after which a trial without one is lost."""
POLL_S = 1.0
"""Between looks at whether other workers are done."""


@dataclass(frozen=True, kw_only=True)
class Plan:
    """What a trial is to try."""

    params: Mapping[str, Any] = field(default_factory=dict)
    """Parameters that are decided beforehand; the study's sampler decides the others."""
    notes: Mapping[str, Any] = field(default_factory=dict)
    """Plain data that whoever works at it finds as the trial's attribute `plan`."""
    key: str = ""
    """Of trials with the same key one is worked at at a time, and the next one sees what became of it; empty: none."""


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """What a trial came to."""

    values: Sequence[float]
    pruned: bool = False


Planner = Callable[[int, Sequence[FrozenTrial]], Plan | None]
"""What the place of this number tries, told of the trials that have ended, in that order; None: there is nothing more
to try. The same history gives the same plan."""


class Engine:
    """What the workers of a study share, and the work of one of them.

    A trial is lost when its worker is dead, which those on the same machine see at once, or when it shows no sign of
    life for `grace_s` seconds of our own clock: the machines' clocks need not agree.
    """

    def __init__(self, study: Study, storage: BaseStorage, plan: Planner, num_trials: int, grace_s: float) -> None:
        self.study, self.storage, self.plan = study, storage, plan
        self.num_trials, self.grace_s = num_trials, grace_s
        self._seen: dict[int, tuple[object, float]] = {}
        self._unsure: int | None = None
        self._nothing_left = False

    def work(self, do: Callable[[Trial], Outcome], look: Callable[[], object] = lambda: None) -> None:
        """Takes part until every place has ended. `do` is given the trials that are this worker's; `look` is called
        whenever some may have ended.

        A trial whose training diverges has ended, too, with its reason as the attribute `why`.
        """
        while True:
            trial = retry(self.claim)
            if trial is not None:
                self.attempt(trial, do)
            is_over = trial is None and retry(lambda: self.is_over)
            retry(look)
            if is_over:
                return
            if trial is None:  # the others are at work; one of them may die
                time.sleep(min(POLL_S, self.grace_s / 4))

    def claim(self) -> Trial | None:
        """A trial that is now ours; None when there is none, or none yet."""
        self._release_unsure()
        self._release_lost()
        self._fill()
        study_id = self.storage.get_study_id_from_name(self.study.study_name)
        for waiting in self.study.get_trials(deepcopy=False, states=(TrialState.WAITING,)):
            if self._others_at(waiting):
                continue
            trial_id = self.storage.get_trial_id_from_study_id_trial_number(study_id, waiting.number)
            try:
                self._unsure = waiting.number
                ours = self.storage.set_trial_state_values(trial_id, TrialState.RUNNING)
                self._unsure = None
                if ours and self._is_needed(waiting) and not any(n < waiting.number for n in self._others_at(waiting)):
                    trial = Trial(self.study, trial_id)
                    us = {"process": process_name(), "worker": f"{socket.gethostname()}:{os.getpid()}"}
                    for name, value in us.items():  # a trial that is nobody's would be lost only after the grace
                        retry(partial(trial.set_user_attr, name, value))
                    return trial
            except UNREACHABLE:
                raise
            except OptunaError:  # somebody has finished it meanwhile, or took us for dead
                self._unsure = None
                continue
            if ours:
                self.study.tell(waiting.number, state=TrialState.FAIL)
        return None

    @property
    def ended(self) -> list[FrozenTrial]:
        """The trials that are complete or pruned, in the order in which they ended."""
        trials = self.study.get_trials(deepcopy=False, states=ENDED)
        return sorted(trials, key=lambda trial: (trial.datetime_complete, trial.number))

    @property
    def num_open(self) -> int:
        """Places that have not ended, where there is something to try."""
        taken = self._by_place()
        num_ended = sum(_has_ended(taken.get(place, [])) for place in range(self.num_trials))
        num_places = self._num_begun(taken) if self._nothing_left else self.num_trials
        return num_places - num_ended

    @property
    def is_over(self) -> bool:
        return self.num_open == 0

    @contextmanager
    def heartbeat(self, trial: Trial) -> Iterator[None]:
        """Shows signs of life of `trial` from a thread of its own, whether or not the storage is there to see them."""

        def beat(over: Event) -> None:
            for number in count():
                with suppress(OptunaError, *UNREACHABLE):
                    trial.set_user_attr("beat", number)
                if over.wait(self.grace_s / BEATS):
                    return

        with in_background(beat):
            yield

    def attempt(self, trial: Trial, do: Callable[[Trial], Outcome]) -> None:
        """Works at a trial that was claimed, and tells what it came to."""
        try:
            with self.heartbeat(trial):
                outcome = do(trial)
        except UpdateFinishedTrialError:  # we were taken for dead, and others do it again
            return
        except NonFiniteLoss as error:  # a fact about what was tried: it is not tried again
            why = str(error)
            retry(lambda: trial.set_user_attr("why", why))
            self._tell(trial, TrialState.FAIL)
        except BaseException as error:
            with suppress(*UNREACHABLE):
                if isinstance(error, KeyboardInterrupt | SystemExit):  # a scheduler takes its job back
                    trial.set_user_attr("interrupted", True)
                self.study.tell(trial, state=TrialState.FAIL)
                self._fill()
            raise
        else:
            state = TrialState.PRUNED if outcome.pruned else TrialState.COMPLETE
            self._tell(trial, state, None if outcome.pruned else list(outcome.values))

    def _tell(self, trial: Trial, state: TrialState, values: list[float] | None = None) -> None:
        with suppress(UpdateFinishedTrialError):  # we were taken for dead just now
            retry(lambda: self.study.tell(trial, values, state=state, skip_if_finished=True))

    def _fill(self) -> None:
        """Puts a trial into every place whose trials were lost; where nobody has anything to do, into the next one."""
        taken = self._by_place()
        begun = self._num_begun(taken)
        waits = any(trial.state == TrialState.WAITING for each in taken.values() for trial in each)
        for place in range(begun):
            trials = taken.get(place, [])
            if not _has_ended(trials) and not any(trial.state in LIVE for trial in trials):
                self._enqueue(place, _planned_again(trials))
                waits = True
        if waits or begun == self.num_trials:
            return
        plan = self.plan(begun, self.ended)
        self._nothing_left = plan is None
        if plan is not None:
            self._enqueue(begun, plan)

    def _enqueue(self, place: int, plan: Plan) -> None:
        noted = {"place": place, "plan": dict(plan.notes), "key": plan.key}
        self.study.enqueue_trial(dict(plan.params), user_attrs=noted)

    def _release_unsure(self) -> None:
        """Gives up the trial that we asked for when the storage went away: it may be ours, and nobody would work at it.

        Where it is another one's who has not yet put a name to it, that one sees that it has ended, and does without.
        """
        if self._unsure is not None:
            trial = self.study.get_trials(deepcopy=False)[self._unsure]
            if trial.state == TrialState.RUNNING and "process" not in trial.user_attrs:
                self.study.tell(trial.number, state=TrialState.FAIL, skip_if_finished=True)
            self._unsure = None

    def _release_lost(self) -> None:
        """Gives up the trials of those who are dead, or show no sign of life."""
        now = time.monotonic()
        for trial in self.study.get_trials(deepcopy=False, states=(TrialState.RUNNING,)):
            beat = trial.user_attrs.get("beat")
            seen, since = self._seen.setdefault(trial.number, (beat, now))
            if beat != seen:
                self._seen[trial.number] = (beat, now)
            silent = beat == seen and now - since > self.grace_s
            if silent or is_gone(trial.user_attrs.get("process", "")):
                with suppress(UpdateFinishedTrialError):  # another one was as quick
                    self.study.tell(trial.number, state=TrialState.FAIL, skip_if_finished=True)

    def _others_at(self, trial: FrozenTrial) -> list[int]:
        """The numbers of the trials with the same key at which somebody is."""
        key = trial.user_attrs.get("key")
        running = self.study.get_trials(deepcopy=False, states=(TrialState.RUNNING,)) if key else []
        same = (other.number for other in running if other.user_attrs.get("key") == key)
        return [number for number in same if number != trial.number]

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

    def _num_begun(self, taken: Mapping[int | None, Sequence[FrozenTrial]]) -> int:
        return max((place for place in taken if place is not None), default=-1) + 1


def _planned_again(lost: Sequence[FrozenTrial]) -> Plan:
    """What was planned, with the parameters that were asked for since."""
    params: dict[str, Any] = {}
    for trial in lost:
        params |= trial.system_attrs.get("fixed_params", {}) | trial.params
    return Plan(params=params, notes=lost[0].user_attrs["plan"], key=lost[0].user_attrs["key"])


def _has_ended(trials: Sequence[FrozenTrial]) -> bool:
    """Whether a place's trials tell what it is worth, or that it is not to be had."""
    told = any(trial.state in ENDED or "why" in trial.user_attrs for trial in trials)
    lost = [
        trial
        for trial in trials
        if trial.state == TrialState.FAIL and "worker" in trial.user_attrs and "interrupted" not in trial.user_attrs
    ]
    return told or len(lost) >= MOST_LOST
