"""`nas bench stores`: how many workers a study's store carries, by a simulation in which its calls are real."""

from __future__ import annotations

import heapq
import random
import socket
import statistics
import warnings
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass
from functools import partial
from multiprocessing.connection import Connection
from pathlib import Path
from tempfile import TemporaryDirectory
from time import perf_counter, process_time
from typing import Any, Literal
from uuid import uuid4

from optuna import Trial, delete_study, logging
from optuna.exceptions import ExperimentalWarning
from optuna.pruners import NopPruner
from optuna.samplers import RandomSampler
from optuna.storages import BaseStorage, JournalStorage, run_grpc_proxy_server
from optuna.trial import TrialState, create_trial

from nas.study.engine import BEATS, Engine, Outcome, Plan
from nas.study.files import StudyJournal
from nas.study.place import GRACE_S
from nas.study.storage import PROXY, join_study, open_storage
from nas.system.processes import SPAWN, end_with, lifeline, safe_path
from search_spaces.ranges import Count, Positive, checked

Row = dict[str, float]
FileStore = Literal["journal", "sqlite", "grpc"]
FILES: tuple[FileStore, ...] = ("journal", "sqlite", "grpc")
DATABASES = ("storage", "grpc-storage")
CLIENTS = 4
"""Processes' views of the store, which the workers share: each of a thousand would hold all trials."""
PARAMS = 8
"""That a trial asks for."""
HOST = "127.0.0.1"


@checked
def stores(
    workers: tuple[Count, ...] = (10, 100, 1000),
    minutes: Positive = 10.0,
    heartbeat: Positive = GRACE_S / BEATS,
    ended: Count = 1000,
    turns: Count = 20,
    only: tuple[FileStore, ...] = FILES,
    storage: str = "",
    folder: Path | None = None,
) -> dict[str, Row]:
    """How many workers a study's store carries, by a simulation whose calls of the store are real.

    The workers' trials take no time: a clock of the simulation says when each of them ends a trial, claims the next one
    or shows a sign of life. What it then asks of the store is done by the engine of every study, and timed; what comes
    while the store is taken waits. `claim_ms`, `tell_ms` (of a trial with eight parameters), `beat_ms`: medians with
    that wait. `taken_ms`: for how long a trial and its signs of life take the store, by the median of each call: a
    journal while a line is written, a SQLite file always, others while the worker waits for them, as if they did one
    thing at a time. `taken`: the share of the time. `processor_ms`: of the worker's processor, for a claim and for
    telling. `reading`: the share of a core that a worker needs to read what the others write to a journal.
    `most_workers`: with the costs in this row; where it is less than the row's workers, the store does not carry them.

    `grpc` is Optuna's proxy before a SQLite file. Raises ValueError for a store that cannot be reached.
    """
    logging.set_verbosity(logging.WARNING)
    rows: dict[str, Row] = {}
    names: list[str] = [*only, *(DATABASES if storage else ())]
    for name in names:
        for num_workers in workers:
            with (
                TemporaryDirectory(dir=folder) as at,
                _opened(name, Path(at), storage) as store,
                closing(Crew(store, num_workers, ended)) as crew,
            ):
                rows[f"{name}, {num_workers:,} workers"] = _measured(crew, minutes, heartbeat, turns)
    return rows


@dataclass
class Writing:
    """What was written to a journal."""

    seconds: float = 0.0
    num_lines: int = 0


class TimedJournal(StudyJournal):
    """One that counts what is written."""

    def __init__(self, path: Path, writing: Writing) -> None:
        super().__init__(path)
        self.writing = writing

    def append_logs(self, logs: list[dict[str, Any]]) -> None:
        begun = perf_counter()
        super().append_logs(logs)
        self.writing.seconds += perf_counter() - begun
        self.writing.num_lines += len(logs)


@dataclass(frozen=True)
class Cost:
    """Of a call, in seconds."""

    wall: float
    taken: float
    """For which nobody else has the store."""
    processor: float
    """Of who calls."""


@dataclass(frozen=True)
class Store:
    """A study's storage, which several processes could open."""

    connect: Callable[[], BaseStorage]
    writing: Writing | None = None
    """Of a journal."""
    is_exclusive: bool = False
    """Whether a call keeps all others out from its beginning to its end."""

    def cost(self, call: Callable[[], object]) -> Cost:
        written = self.writing.seconds if self.writing else 0.0
        began, worked = perf_counter(), process_time()
        call()
        wall, processor = perf_counter() - began, process_time() - worked
        if self.writing:
            return Cost(wall, self.writing.seconds - written, processor)
        return Cost(wall, wall if self.is_exclusive else max(0.0, wall - processor), processor)


class Crew:
    """The workers of a study, each of which is at a trial, and which share a few views of the store."""

    def __init__(self, store: Store, num_workers: int, num_ended: int) -> None:
        self.store, self.num_workers = store, num_workers
        self.name = f"bench-{uuid4().hex[:8]}"
        self.engines = [self._engine(num_ended + 100 * num_workers) for _ in range(CLIENTS)]
        storage = self.engines[0].storage
        study_id = storage.get_study_id_from_name(self.name)
        told: list[dict[str, Any]] = [{"state": TrialState.COMPLETE, "value": 0.5}] * num_ended
        for place, state in enumerate([*told, *[{"state": TrialState.RUNNING}] * num_workers]):
            storage.create_new_trial(study_id, create_trial(**state, user_attrs=_noted(place)))
        running, *_ = (each.study.get_trials(deepcopy=False, states=(TrialState.RUNNING,)) for each in self.engines)
        self.trials = [Trial(self._engine_of(i).study, trial._trial_id) for i, trial in enumerate(running)]

    def close(self) -> None:
        """Removes the study."""
        delete_study(study_name=self.name, storage=self.engines[0].storage)

    def beat(self, worker: int) -> None:
        """A sign of life."""
        with self._engine_of(worker).heartbeat(self.trials[worker]):
            pass

    def tell(self, worker: int) -> None:
        """The end of a trial: what it asked for meanwhile, and what it is worth."""
        self._engine_of(worker).attempt(self.trials[worker], _told)

    def claim(self, worker: int) -> None:
        """Takes the next trial."""
        trial = self._engine_of(worker).claim()
        assert trial, "nobody else is there to claim it"
        self.trials[worker] = trial

    def reading_s(self) -> float:
        """Of a processor's time, for each line of a journal that somebody else has written."""
        assert self.store.writing
        began = process_time()
        self._engine(1)
        return (process_time() - began) / self.store.writing.num_lines

    def _engine(self, num_trials: int) -> Engine:
        storage = self.store.connect()
        study = join_study(storage, "", self.name, {}, ["maximize"], RandomSampler(seed=0), NopPruner())
        return Engine(study, storage, lambda place, ended: Plan(), num_trials, grace_s=1e9)

    def _engine_of(self, worker: int) -> Engine:
        return self.engines[worker % CLIENTS]


def _noted(place: int) -> dict[str, Any]:
    """The attributes of a trial at which somebody is, on another machine."""
    return {"place": place, "plan": {}, "key": "", "process": "elsewhere 1 0.0", "worker": "elsewhere:1", "beat": 0}


def _told(trial: Trial) -> Outcome:
    for number in range(PARAMS):
        trial.suggest_float(f"parameter {number}", 0.0, 1.0)
    trial.set_user_attr("score", {"mAP": 0.5, "parameters": 1_000_000, "multiply_adds": 100_000_000, "minutes": 10.0})
    return Outcome(values=[0.5])


def _measured(crew: Crew, minutes: float, heartbeat: float, num_turns: int) -> Row:
    """The row of these workers."""
    lines = crew.store.writing.num_lines if crew.store.writing else 0
    costs, waited = _simulated(crew, minutes, heartbeat, num_turns)
    taken = {what: statistics.median(cost.taken for cost in each) for what, each in costs.items()}
    taken_s = taken["tell"] + taken["claim"] + 60 * minutes / heartbeat * taken["beat"]
    processor_s = sum(statistics.median(cost.processor for cost in costs[what]) for what in ("claim", "tell"))
    row = {f"{what}_ms": 1e3 * statistics.median(waited[what]) for what in ("claim", "tell", "beat")}
    row |= {"taken_ms": 1e3 * taken_s, "taken": crew.num_workers * taken_s / (60 * minutes)}
    row["processor_ms"] = 1e3 * processor_s
    if crew.store.writing:
        lines_per_beat = (crew.store.writing.num_lines - lines) / len(costs["beat"])
        row["reading"] = crew.num_workers / heartbeat * lines_per_beat * crew.reading_s()
    row["most_workers"] = float(int(60 * minutes / taken_s))
    return row


def _simulated(
    crew: Crew, minutes: float, heartbeat: float, num_turns: int
) -> tuple[dict[str, list[Cost]], dict[str, list[float]]]:
    """What each kind of call cost until so many trials were claimed, and how many seconds after it was due it was done.
    Each worker begins anywhere in its trial, and between its signs of life."""
    chance, free = random.Random(0), 0.0
    calls = {"beat": crew.beat, "tell": crew.tell, "claim": crew.claim}
    follows = {"beat": ("beat", heartbeat), "tell": ("claim", 0.0), "claim": ("tell", 60 * minutes)}
    costs: dict[str, list[Cost]] = {what: [] for what in calls}
    waited: dict[str, list[float]] = {what: [] for what in calls}
    due: list[tuple[float, int, str]] = []
    for worker in range(crew.num_workers):
        due += [(chance.uniform(0, heartbeat), worker, "beat"), (chance.uniform(0, 60 * minutes), worker, "tell")]
    heapq.heapify(due)
    while len(costs["claim"]) < num_turns:
        now, worker, what = heapq.heappop(due)
        cost = crew.store.cost(partial(calls[what], worker))
        begins = max(now, free)
        free, over = begins + cost.taken, begins + cost.wall
        costs[what].append(cost)
        waited[what].append(over - now)
        after, pause = follows[what]
        heapq.heappush(due, (over + pause, worker, after))
    return costs, waited


@contextmanager
def _opened(name: str, folder: Path, address: str) -> Iterator[Store]:
    """The store of that name; its files are in the folder."""
    journal, database = folder / "study.journal", str(folder / "study.db")
    with ExitStack() as stack:
        if name == "journal":
            writing = Writing()
            yield Store(lambda: JournalStorage(TimedJournal(journal, writing)), writing)
        elif name == "sqlite":
            yield Store(lambda: open_storage(database), is_exclusive=True)
        elif name == "storage":
            yield Store(lambda: open_storage(address))
        else:
            proxy = stack.enter_context(_proxy(database if name == "grpc" else address))
            yield Store(lambda: open_storage(proxy))


@contextmanager
def _proxy(address: str) -> Iterator[str]:
    """The address of Optuna's proxy before a storage, in a process of its own."""
    with socket.create_server((HOST, 0)) as free:
        port = free.getsockname()[1]
    with lifeline() as line:
        process = SPAWN.Process(target=_serve, args=(address, port, line))
        with safe_path():
            process.start()
        try:
            _wait_for(f"{PROXY}{HOST}:{port}", process.is_alive)
            yield f"{PROXY}{HOST}:{port}"
        finally:
            process.terminate()
            process.join()


def _serve(address: str, port: int, line: Connection) -> None:
    end_with(line)
    warnings.simplefilter("ignore", ExperimentalWarning)
    run_grpc_proxy_server(open_storage(address), host=HOST, port=port)


def _wait_for(proxy: str, is_alive: Callable[[], bool]) -> None:
    """Raises ValueError when it ends before it answers."""
    while True:
        try:
            open_storage(proxy)
            return
        except ValueError:
            if not is_alive():
                raise
