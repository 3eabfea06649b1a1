"""What a stage shows while it computes; what survives a kill is in `test_stage`."""

from types import SimpleNamespace

import pytest
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from nas.system.progress import LOG
from nas.training.monitor import Monitor, epoch_line, run_stages


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


LOSSES = {"total": 4.1, "identity": 3.123456, "triplet": 0.5, "distill": 1e-7}
LONG = {f"part{number}": 12345.678 for number in range(20)}


@pytest.mark.parametrize(
    ("record", "line"),
    [
        (
            {"weight": LOSSES, "alpha": {"total": 5.0}, "temperature": 1.868, "lr": 0.00035},
            "search 2/9  loss 4.10  alpha 5.00  identity 3.12  triplet 0.500  T 1.87  3.20 s/step  eta 3:10",
        ),
        (
            {"loss": {"total": 4.1, "identity": 4.1}, "temperature": None, "lr": 0.00035, "mAP": 0.3123},
            "search 2/9  loss 4.10  mAP 31.2  lr 3.5e-04  3.20 s/step  eta 3:10",
        ),
        (
            {"score": 0.25, "best": 0.5, "cost": 3, "seconds": 61.2, "architecture": {}},
            "search 2/9  mAP 25.0  best 50.0  61.2 s/trial  eta 3:10",
        ),
        ({"loss": LONG | {"total": 1e6}, "mAP": 1.0}, "search 2/9  loss 1.00e+06  mAP 100.0  3.20 s/step  eta 3:10"),
        ({}, "search 2/9  3.20 s/step  eta 3:10"),
    ],
)
def test_an_epoch_is_a_line_of_names_and_numbers(record, line):
    found = epoch_line("search 2/9", record, 3.2, 190)
    for text in line.split("  "):
        assert text in found.split("  ")
    assert len(found) <= 100 and "\n" not in found and "\r" not in found


@pytest.mark.parametrize("tells", [True, False])
def test_without_a_terminal_each_epoch_is_said_at_once_and_logged(tmp_path, capfd, tells):
    monitor = Monitor(tmp_path, "teach", first=True, quiet=False, tells=tells)
    monitor.start(0, 6)
    for epoch in (1, 2):
        monitor.tell(
            {"epoch": epoch - 1, "loss": {"total": 1.0}} | ({"stopped": "why"} if epoch == 2 else {}), epoch, 2, 3
        )
        said = capfd.readouterr()
        assert said.out == "" and said.err.startswith(f"teach {epoch}/2  loss 1.00  " if tells else "")
    assert said.err.endswith("teach ended: why\n") if tells else not said.err
    assert (tmp_path / LOG).exists() == tells


@pytest.mark.parametrize(("first", "quiet"), [(False, False), (True, True)])
def test_only_the_first_process_and_no_part_of_another_stage_speaks(tmp_path, capfd, first, quiet):
    monitor = Monitor(tmp_path, "teach", first=first, quiet=quiet, tells=True)
    monitor.start(0, 1)
    monitor.tell({"epoch": 0}, 1, 1, 1)
    assert capfd.readouterr() == ("", "") and not list(tmp_path.iterdir())


def test_a_bar_says_which_stage_of_the_run_it_is_and_when_the_run_ends(tmp_path, terminal, monkeypatch, capfd):
    now = [10.0]
    monkeypatch.setattr("nas.training.monitor.time", SimpleNamespace(monotonic=lambda: now[0]))
    monkeypatch.setenv("COLUMNS", "200")
    monitor = Monitor(tmp_path, "search", first=True, quiet=False, tells=True)
    with run_stages({"teach": 0, "search": 10, "retrain": 30}):
        monitor.start(0, 100)
        now[0] += 10
        monitor.show(50, lambda: {"mAP": 0.25})
        monitor.tell({"epoch": 0}, 1, 2, 50)
        monitor.close()
    err = capfd.readouterr().err
    assert "search (2 of 3)" in err and "mAP 0.250" in err and str(tmp_path)[:20] in err
    assert "eta 0:10, run 1:10" in err, "ten seconds of its own, and three times twenty"
    assert "s/step" not in err and "s/step" in (tmp_path / LOG).read_text()
