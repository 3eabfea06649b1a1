"""The queue of a study: each place is tried until it ends, whoever dies, and by nobody twice."""

import os
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from pathlib import Path

import optuna
import pytest
from optuna.trial import TrialState

from nas.study.queue import MOST_LOST, Queue
from nas.study.storage import open_storage

GRACE_S = 6.0
"""A busy machine may keep a live worker silent for some seconds."""

WORKER = """
import os, signal, sys, time
from nas.study.queue import (Queue)
from nas.study.storage import (open_storage)
import optuna

address, number, grave = sys.argv[1], int(sys.argv[2]), sys.argv[3]
optuna.logging.set_verbosity(optuna.logging.ERROR)
storage = open_storage(address)
study = optuna.load_study(study_name="s", storage=storage, sampler=optuna.samplers.RandomSampler(seed=number))
queue = Queue(study, storage, [{"x": i / 10} for i in range(8)], GRACE_S)
while queue.num_open:
    queue.release_lost()
    trial = queue.claim()
    if trial is None:
        time.sleep(0.1)
        continue
    with queue.heartbeat(trial):
        x, y = trial.suggest_float("x", 0, 1), trial.suggest_float("y", 0, 1)
        time.sleep(0.1)
        if trial.user_attrs["place"] == 3 and not os.path.exists(grave):
            open(grave, "x").close()
            os.kill(os.getpid(), signal.SIGKILL)
        study.tell(trial, x + y)
    print(trial.number, flush=True)
"""


def start_workers(script: Path, address: str, num: int = 4) -> list[subprocess.Popen]:
    """Processes at one study, of which the one that first comes to place 3 kills itself."""
    script.write_text(WORKER.replace("GRACE_S", str(GRACE_S)))
    storage = open_storage(address)
    study = optuna.create_study(study_name="s", storage=storage, direction="maximize")
    Queue(study, storage, [{"x": i / 10} for i in range(8)], GRACE_S).fill()
    environment = os.environ | {"PYTHONPATH": str(Path(__file__).parents[3])}
    command = [sys.executable, str(script), address]
    return [
        subprocess.Popen(
            [*command, str(n), str(script.parent / "grave")], env=environment, stdout=subprocess.PIPE, text=True
        )
        for n in range(num)
    ]


@pytest.mark.medium
@pytest.mark.parametrize("name", [pytest.param("study.db", marks=pytest.mark.slow), "study.journal"])
def test_four_processes_of_which_one_is_killed(tmp_path, name):
    address = str(tmp_path / name)
    workers = start_workers(tmp_path / "worker.py", address)
    told = [worker.communicate(timeout=120)[0].split() for worker in workers]
    assert sorted(worker.returncode for worker in workers) == [-signal.SIGKILL, 0, 0, 0]
    check_all_done(told, address)


def check_all_done(told: list[list[str]], address: str) -> None:
    """Each place is complete once, nothing was done twice, and what the killed worker had begun was done by another."""
    trials = optuna.load_study(study_name="s", storage=open_storage(address)).get_trials()
    complete = [trial for trial in trials if trial.state == TrialState.COMPLETE]
    assert sorted(trial.user_attrs["place"] for trial in complete) == list(range(8))
    assert {trial.user_attrs["place"]: trial.params["x"] for trial in complete} == {i: i / 10 for i in range(8)}
    assert Counter(int(number) for one in told for number in one) == Counter(trial.number for trial in complete)
    lost = [trial for trial in trials if trial.state == TrialState.FAIL and "worker" in trial.user_attrs]
    again = next(trial for trial in complete if trial.user_attrs["place"] == lost[0].user_attrs["place"])
    assert len(lost) == 1 and again.params == lost[0].params
    assert again.user_attrs["worker"] != lost[0].user_attrs["worker"]


@pytest.fixture
def make():
    """Makes queues, all at one study in memory: one for each worker."""
    storage = optuna.storages.InMemoryStorage()
    study = optuna.create_study(study_name="s", storage=storage, sampler=optuna.samplers.RandomSampler(seed=0))
    return lambda places=3, grace_s=0.1: Queue(study, storage, [{"x": place} for place in range(places)], grace_s)


def numbers(queue, *states):
    return [trial.number for trial in queue.study.get_trials(states=states or None)]


def test_places_are_filled_once_and_claimed_in_order(make):
    one, two = make(), make()
    one.fill()
    two.fill()
    claimed = [one.claim(), two.claim(), one.claim()]
    assert [trial.user_attrs["place"] for trial in claimed] == [0, 1, 2] and one.claim() is None
    assert [trial.suggest_int("x", 0, 9) for trial in claimed] == [0, 1, 2]
    for trial in claimed:
        assert one.num_open == two.num_open == 3 - trial.number
        one.study.tell(trial, 1.0)
    one.fill()
    assert one.num_open == 0 and len(numbers(one)) == 3


def test_more_places_go_on_with_the_study(make):
    queue = make(2)
    queue.fill()
    queue.study.tell(queue.claim(), 1.0)
    more = make(5)
    more.fill()
    assert more.num_open == 4 and len(numbers(more)) == 5


def test_a_second_trial_of_a_place_is_dropped(make):
    queue = make(2)
    queue.fill()
    for place in range(2):  # as if another process had filled at the same time
        queue.study.enqueue_trial({"x": place}, user_attrs={"place": place})
    first = queue.claim()
    queue.study.tell(first, 1.0)
    assert queue.claim().number == 1 and queue.claim() is None
    assert numbers(queue, TrialState.FAIL) == [2, 3]
    queue.study.tell(1, 1.0)
    assert queue.num_open == 0


def test_a_lost_trials_parameters_outlive_a_dropped_one(make):
    queue = make(1)
    queue.fill()
    lost = queue.claim()
    asked = lost.suggest_float("y", 0, 1)
    queue.study.enqueue_trial({}, user_attrs={"place": 0})
    assert queue.claim() is None
    queue.study.tell(lost, state=TrialState.FAIL)
    queue.fill()
    assert queue.claim().suggest_float("y", 0, 1) == asked


def test_who_enqueues_by_hand_is_served(make):
    queue = make(1)
    queue.fill()
    queue.study.enqueue_trial({"x": 7})
    assert [queue.claim().user_attrs.get("place") for _ in range(2)] == [0, None]


def test_silence_is_death_and_a_sign_of_life_is_not(make):
    queue, watch = make(2, grace_s=0.3), make(2, grace_s=0.3)
    queue.fill()
    silent, alive = queue.claim(), queue.claim()
    silent.suggest_float("y", 0, 1)
    with queue.heartbeat(alive):
        end = time.monotonic() + 1.0
        while time.monotonic() < end:
            watch.release_lost()
            time.sleep(0.02)
    assert numbers(queue, TrialState.FAIL) == [silent.number] and numbers(queue, TrialState.RUNNING) == [alive.number]
    again = queue.claim()
    assert (again.user_attrs["place"], again.suggest_int("x", 0, 9)) == (0, 0)
    assert again.suggest_float("y", 0, 1) == silent.params["y"]


def test_who_is_taken_for_dead_while_claiming_goes_on(make, monkeypatch):
    queue = make(1)
    queue.fill()

    def released(trial):
        queue.study.tell(trial.number, state=TrialState.FAIL)
        queue.fill()
        return True

    with monkeypatch.context() as patched:
        patched.setattr(queue, "_is_needed", released)
        assert queue.claim() is None
    assert queue.claim().number == 1


def test_nobody_is_lost_before_the_grace_is_over(make):
    queue, watch = make(1, grace_s=60), make(1, grace_s=60)
    queue.fill()
    queue.claim()
    for _ in range(3):
        watch.release_lost()
    assert numbers(queue, TrialState.RUNNING) == [0]


def test_the_heart_stops_with_the_trial(make):
    queue = make(1)
    queue.fill()
    trial = queue.claim()
    before = threading.active_count()
    with pytest.raises(RuntimeError, match="broken"), queue.heartbeat(trial):
        assert threading.active_count() == before + 1
        raise RuntimeError("broken")
    assert threading.active_count() == before


@pytest.mark.parametrize("notes, tries", [({}, MOST_LOST), ({"why": "diverged"}, 1), ({"interrupted": True}, 10)])
def test_a_place_is_given_up_when_it_kills_all_who_try_it(make, notes, tries):
    queue = make(1)
    for _ in range(10):
        queue.fill()
        if (trial := queue.claim()) is None:
            break
        for name, note in notes.items():
            trial.set_user_attr(name, note)
        queue.study.tell(trial, state=TrialState.FAIL)
    assert len(numbers(queue)) == tries and queue.num_open == (tries == 10)
