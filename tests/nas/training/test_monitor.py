"""What a stage shows while it computes; what survives a kill is in `test_stage`."""

from types import SimpleNamespace

import pytest
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from nas.training.monitor import Monitor


@pytest.fixture
def terminal(monkeypatch):
    monkeypatch.setattr("nas.training.monitor.sys", SimpleNamespace(stderr=SimpleNamespace(isatty=lambda: True)))


def test_numbers_are_asked_for_once_a_second_at_most(tmp_path, terminal, monkeypatch, capfd):
    now, asked = [10.0], []
    monkeypatch.setattr("nas.training.monitor.time", SimpleNamespace(monotonic=lambda: now[0]))
    monitor = Monitor(tmp_path, "retrain", first=True, quiet=False)
    monitor.start(0, 30)
    for step in range(30):
        now[0] += 0.25
        monitor.show(step, lambda step=step: asked.append(step) or {"loss.total": 1.5})
    monitor.close()
    assert asked == list(range(0, 30, 5))
    assert "total 1.500" in capfd.readouterr().err


@pytest.mark.parametrize(("first", "quiet"), [(True, True), (False, False)])
def test_no_bar_and_no_question_where_nobody_looks(tmp_path, terminal, capfd, first, quiet):
    monitor = Monitor(tmp_path, "retrain", first=first, quiet=quiet)
    monitor.start(0, 2)
    monitor.show(1, lambda: pytest.fail("nobody looks"))
    monitor.close()
    assert capfd.readouterr() == ("", "")


def test_only_the_first_process_publishes(tmp_path):
    Monitor(tmp_path, "retrain", first=False, quiet=False).publish([{"epoch": 0}])
    assert not list(tmp_path.iterdir())


def test_published_again_it_stands_in_place_of_what_was_there(tmp_path):
    for value in (2.0, 1.0):
        monitor = Monitor(tmp_path, "teach", first=True, quiet=True)
        monitor.publish([{"epoch": 0, "lr": value}], again=True)
        monitor.close()
    events = EventAccumulator(str(tmp_path / "tensorboard" / "teach"))
    events.Reload()
    assert [event.value for event in events.Scalars("lr")] == [1.0]


def test_each_line_becomes_one_event_by_its_path(tmp_path):
    monitor = Monitor(tmp_path, "teach", first=True, quiet=True)
    history = [{"epoch": 0, "loss": {"total": 2.0}, "stopped": "words are no scalar"}]
    monitor.publish(history)
    monitor.publish([*history, {"epoch": 1, "loss": {"total": 1.0}}])
    monitor.close()
    events = EventAccumulator(str(tmp_path / "tensorboard" / "teach"))
    events.Reload()
    assert [(event.step, event.value) for event in events.Scalars("loss/total")] == [(0, 2.0), (1, 1.0)]
    assert sorted(events.Tags()["scalars"]) == ["epoch", "loss/total"]
    assert len((tmp_path / "teach.history.jsonl").read_text().splitlines()) == 2
