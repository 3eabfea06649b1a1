"""The bench of stores: its queue where the costs are known, and real stores at a toy's size."""

from types import SimpleNamespace

import pytest
from optuna.trial import TrialState

from nas.bench.stores import FILES, PARAMS, Cost, Crew, _measured, _opened, stores

ROW = {"claim_ms", "tell_ms", "beat_ms", "taken_ms", "taken", "processor_ms", "most_workers"}


def row(num_workers: int) -> dict[str, float]:
    """Of a store that each call takes for 100 ms."""
    store = SimpleNamespace(writing=None, cost=lambda call: Cost(wall=0.1, taken=0.1, processor=0.01))
    crew = SimpleNamespace(store=store, num_workers=num_workers, beat=print, tell=print, claim=print)
    return _measured(crew, minutes=1.0, heartbeat=10.0, num_turns=20)


def test_one_worker_never_waits():
    """A trial of a minute takes the store for six signs of life, a claim and what is told."""
    found = row(1)
    assert [found["claim_ms"], found["tell_ms"], found["beat_ms"]] == pytest.approx([100.0] * 3)
    assert found["taken_ms"] == pytest.approx(800.0) and found["taken"] == pytest.approx(0.8 / 60)
    assert found["most_workers"] == 75 and found["processor_ms"] == pytest.approx(20.0)


def test_more_workers_than_a_store_carries_wait_for_each_other():
    few, many = row(10), row(150)
    assert few["taken"] < 1 < many["taken"] and few["most_workers"] == many["most_workers"] == 75
    assert few["beat_ms"] < 200 < many["beat_ms"]


def test_workers_take_turns_at_real_trials(tmp_path):
    with _opened("journal", tmp_path, "") as store:
        crew = Crew(store, num_workers=3, num_ended=2)
        first = crew.trials[1].number
        for call in (crew.beat, crew.tell, crew.claim):
            call(1)
        trials = crew.engines[0].study.get_trials()
        states = [trial.state for trial in trials]
        assert states.count(TrialState.COMPLETE) == 3 and states.count(TrialState.RUNNING) == 3
        assert trials[first].state == TrialState.COMPLETE and len(trials[first].params) == PARAMS
        assert crew.trials[1].number == 5 and trials[5].user_attrs["place"] == 5


@pytest.mark.medium
def test_the_stores_of_this_machine(tmp_path):
    found = stores(workers=(2,), heartbeat=300.0, ended=2, turns=2, folder=tmp_path)
    assert list(found) == [f"{name}, 2 workers" for name in FILES] and not list(tmp_path.iterdir())
    assert set(found["journal, 2 workers"]) == {*ROW, "reading"}
    assert all(set(row) == ROW for name, row in found.items() if "journal" not in name)
    assert all(value > 0 for row in found.values() for value in row.values())
