"""The engine of a study: each place is tried until it ends, whoever dies, and by nobody twice."""

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
from optuna.exceptions import StorageInternalError
from optuna.trial import TrialState

from nas.errors import NonFiniteLoss
from nas.study.engine import MOST_LOST, Engine, Outcome, Plan
from nas.study.storage import open_storage
from nas.system.processes import process_name

GRACE_S = 6.0
"""A busy machine may keep a live worker silent for some seconds."""

WORKER = """
import os, signal, sys, time
from nas.study.engine import (Engine, Outcome, Plan)
from nas.study.storage import (open_storage)
import optuna

address, number, grave = sys.argv[1], int(sys.argv[2]), sys.argv[3]
optuna.logging.set_verbosity(optuna.logging.ERROR)
storage = open_storage(address)
study = optuna.load_study(study_name="s", storage=storage, sampler=optuna.samplers.RandomSampler(seed=number))
engine = Engine(study, storage, lambda place, ended: Plan(params={"x": place / 10}), 8, GRACE_S)

def do(trial):
    x, y = trial.suggest_float("x", 0, 1), trial.suggest_float("y", 0, 1)
    time.sleep(0.1)
    if trial.user_attrs["place"] == 3 and not os.path.exists(grave):
        open(grave, "x").close()
        os.kill(os.getpid(), signal.SIGKILL)
    print(trial.number, flush=True)
    return Outcome(values=[x + y])

engine.work(do)
"""


def start_workers(script: Path, address: str, num: int = 4) -> list[subprocess.Popen]:
    """Processes at one study, of which the one that first comes to place 3 kills itself."""
    script.write_text(WORKER.replace("GRACE_S", str(GRACE_S)))
    optuna.create_study(study_name="s", storage=open_storage(address), direction="maximize")
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
    """Makes engines, all at one study in memory: one for each worker."""
    storage = optuna.storages.InMemoryStorage()
    study = optuna.create_study(study_name="s", storage=storage, sampler=optuna.samplers.RandomSampler(seed=0))

    def engine(num_trials=3, grace_s=60.0, plan=lambda place, ended: Plan(params={"x": place})):
        return Engine(study, storage, plan, num_trials, grace_s)

    return engine


def numbers(engine, *states):
    return [trial.number for trial in engine.study.get_trials(states=states or None)]


def places(engine, *states):
    return [trial.user_attrs.get("place") for trial in engine.study.get_trials(states=states or None)]


def test_places_are_claimed_once_and_in_order(make):
    one, two = make(), make()
    claimed = [one.claim(), two.claim(), one.claim()]
    assert [trial.user_attrs["place"] for trial in claimed] == [0, 1, 2] and two.claim() is None
    assert [trial.suggest_int("x", 0, 9) for trial in claimed] == [0, 1, 2]
    for trial in claimed:
        assert one.num_open == two.num_open == 3 - trial.number and not one.is_over
        one.study.tell(trial, 1.0)
    assert one.is_over and one.claim() is None and len(numbers(one)) == 3


def test_a_plan_is_made_of_the_trials_that_have_ended(make):
    seen = []

    def plan(place, ended):
        seen.append((place, [trial.user_attrs["plan"]["name"] for trial in ended]))
        return Plan(notes={"name": f"trial {place}"})

    engine = make(4, plan=plan)
    first, second = engine.claim(), engine.claim()
    engine.study.tell(second, 1.0)
    engine.claim()
    engine.study.tell(first, 1.0)
    engine.claim()
    assert seen == [(0, []), (1, []), (2, ["trial 1"]), (3, ["trial 1", "trial 0"])]


def test_it_ends_where_there_is_nothing_left_to_try(make):
    engine = make(9, plan=lambda place, ended: Plan() if place < 2 else None)
    done = []
    engine.work(lambda trial: done.append(trial.number) or Outcome(values=[0.0]))
    assert done == [0, 1] and engine.is_over and engine.num_open == 0


def test_more_trials_go_on_with_the_study(make):
    engine = make(1)
    engine.work(lambda trial: Outcome(values=[1.0]))
    more = make(5)
    assert more.num_open == 4 and not more.is_over
    more.work(lambda trial: Outcome(values=[1.0]))
    assert len(numbers(more)) == 5


def test_a_second_trial_of_a_place_is_dropped(make):
    engine = make(2)
    first = engine.claim()
    for place in range(2):  # as if another process had planned at the same time
        engine.study.enqueue_trial({"x": place}, user_attrs={"place": place, "plan": {}, "key": ""})
    engine.study.enqueue_trial({"x": 1}, user_attrs={"place": 1, "plan": {}, "key": ""})
    assert engine.claim().number == 2 and engine.claim() is None
    assert numbers(engine, TrialState.FAIL) == [1, 3]
    engine.study.tell(first, 1.0)
    engine.study.tell(2, 1.0)
    assert engine.is_over


def test_trials_of_one_key_wait_for_each_other(make):
    engine = make(3, plan=lambda place, ended: Plan(key="same" if place < 2 else "other"))
    first = engine.claim()
    assert engine.claim() is None and engine.claim() is None
    engine.study.tell(first, 1.0)
    second = engine.claim()
    assert second.user_attrs["place"] == 1 and engine.claim().user_attrs["place"] == 2


def test_a_lost_trials_parameters_and_plan_outlive_it(make):
    engine = make(1, plan=lambda place, ended: Plan(params={"x": 4}, notes={"name": "first"}, key="k"))
    lost = engine.claim()
    asked = lost.suggest_float("y", 0, 1)
    engine.study.tell(lost, state=TrialState.FAIL)
    engine.plan = lambda place, ended: Plan(notes={"name": "another"})
    again = engine.claim()
    assert (again.suggest_int("x", 0, 9), again.suggest_float("y", 0, 1)) == (4, asked)
    assert again.user_attrs["plan"] == {"name": "first"} and again.user_attrs["key"] == "k"


def test_who_enqueues_by_hand_is_served(make):
    engine = make(1)
    engine.study.enqueue_trial({"x": 7})
    assert [engine.claim().user_attrs.get("place") for _ in range(2)] == [None, 0]


def test_silence_is_death_and_a_sign_of_life_is_not(make):
    engine, watch = make(2, grace_s=0.3), make(2, grace_s=0.3)
    silent, alive = engine.claim(), engine.claim()
    silent.suggest_float("y", 0, 1)
    with engine.heartbeat(alive):
        end = time.monotonic() + 1.0
        again = None
        while time.monotonic() < end:
            again = again or watch.claim()
            time.sleep(0.02)
    assert numbers(engine, TrialState.FAIL) == [silent.number]
    assert alive.number in numbers(engine, TrialState.RUNNING)
    assert (again.user_attrs["place"], again.suggest_int("x", 0, 9)) == (0, 0)
    assert again.suggest_float("y", 0, 1) == silent.params["y"]


def test_the_trial_of_a_process_that_is_gone_is_taken_at_once(make):
    engine = make(1)
    lost = engine.claim()
    machine, number, created = process_name().split(" ")
    lost.set_user_attr("process", f"{machine} {number} {float(created) + 1}")  # an earlier one of the same number
    assert engine.claim().user_attrs["place"] == 0 and numbers(engine, TrialState.FAIL) == [lost.number]


def test_a_process_of_another_machine_is_left_its_grace(make):
    engine = make(1)
    elsewhere = engine.claim()
    elsewhere.set_user_attr("process", "another/machine 1 1.0")
    assert engine.claim() is None and numbers(engine, TrialState.RUNNING) == [elsewhere.number]


def test_who_is_taken_for_dead_while_claiming_goes_on(make, monkeypatch):
    engine = make(1)

    def lost(trial):
        engine.study.tell(trial.number, state=TrialState.FAIL)
        return True

    with monkeypatch.context() as patched:
        patched.setattr(engine, "_is_needed", lost)
        assert engine.claim() is None
    assert engine.claim().number == 1


@pytest.mark.parametrize("claimed", [True, False])
def test_a_claim_whose_answer_is_lost_with_the_store_is_made_again(make, monkeypatch, claimed):
    engine = make(1)
    claim = engine.storage.set_trial_state_values

    def away(trial_id, state):
        if claimed:
            claim(trial_id, state)
        raise StorageInternalError("the server closed the connection")

    with monkeypatch.context() as patched:
        patched.setattr(engine.storage, "set_trial_state_values", away)
        with pytest.raises(StorageInternalError):
            engine.claim()
    again = engine.claim()
    assert again.user_attrs["place"] == 0 and again.user_attrs["worker"]
    assert numbers(engine, TrialState.FAIL) == ([0] if claimed else []) and numbers(engine, TrialState.WAITING) == []


def test_who_gets_an_unsure_claim_meanwhile_keeps_it(make, monkeypatch):
    one, two = make(1), make(1)
    with monkeypatch.context() as patched:
        patched.setattr(one.storage, "set_trial_state_values", lambda *_: (_ for _ in ()).throw(StorageInternalError()))
        with pytest.raises(StorageInternalError):
            one.claim()
    theirs = two.claim()
    assert one.claim() is None and numbers(one, TrialState.RUNNING) == [theirs.number] and len(numbers(one)) == 1


def test_nobody_is_lost_before_the_grace_is_over(make):
    engine, watch = make(1), make(1)
    engine.claim()
    assert [watch.claim() for _ in range(3)] == [None] * 3 and numbers(engine, TrialState.RUNNING) == [0]


def test_the_heart_stops_with_the_trial(make):
    engine = make(1)
    trial = engine.claim()
    before = threading.active_count()
    with pytest.raises(RuntimeError, match="broken"), engine.heartbeat(trial):
        assert threading.active_count() == before + 1
        raise RuntimeError("broken")
    assert threading.active_count() == before


def test_what_diverges_has_ended_and_what_breaks_has_not(make):
    engine = make(2)

    def do(trial):
        if trial.user_attrs["place"] == 0:
            raise NonFiniteLoss("it became nan")
        raise RuntimeError("broken")

    with pytest.raises(RuntimeError, match="broken"):
        engine.work(do)
    diverged, broken, again = engine.study.trials
    assert diverged.user_attrs["why"] == "it became nan" and engine.num_open == 1
    assert (broken.state, again.state, again.user_attrs["place"]) == (TrialState.FAIL, TrialState.WAITING, 1)


def test_pruned_trials_have_ended(make):
    engine = make(1)

    def do(trial):
        trial.report(0.5, 1)
        return Outcome(values=[0.5], pruned=True)

    engine.work(do)
    assert [trial.state for trial in engine.ended] == [TrialState.PRUNED] and engine.is_over


@pytest.mark.parametrize("notes, tries", [({}, MOST_LOST), ({"why": "diverged"}, 1), ({"interrupted": True}, 10)])
def test_a_place_is_given_up_when_it_kills_all_who_try_it(make, notes, tries):
    engine = make(1)
    for _ in range(10):
        if (trial := engine.claim()) is None:
            break
        for name, note in notes.items():
            trial.set_user_attr(name, note)
        engine.study.tell(trial, state=TrialState.FAIL)
    assert len(numbers(engine)) == tries and engine.num_open == (tries == 10)
