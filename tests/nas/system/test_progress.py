"""What a command says while it works, and what stays of it in the log."""

import re

import pytest

from nas.errors import SaveError
from nas.system.progress import LOG, begin_command, clock, failure_noted, logged_in, tell, timed


@pytest.fixture(autouse=True)
def command(monkeypatch):
    monkeypatch.setattr("sys.argv", ["nas", "teach", "a b"])
    begin_command()


def test_the_log_marks_each_command_and_goes_on_behind_a_torn_line(tmp_path, capfd):
    folder = tmp_path / "run"
    tell("one", folder)
    tell("two", folder, shown=False)
    (folder / LOG).write_text((folder / LOG).read_text() + "tor")
    begin_command()
    tell("three \udcff", folder)
    lines = (folder / LOG).read_text().splitlines()
    assert lines[1:4] + lines[5:] == ["one", "two", "tor", "three \\udcff"]
    for line in (lines[0], lines[4]):
        assert re.fullmatch(r"== \d{4}-\d\d-\d\d \d\d:\d\d:\d\d  nas teach 'a b'", line)
    assert capfd.readouterr().err.splitlines()[0] == "one" and len(lines) == 6


def test_what_takes_long_is_said_before_and_behind(tmp_path, capfd):
    with timed("report", tmp_path):
        assert capfd.readouterr().err == "report: started\n"
    assert re.fullmatch(r"report: \d+\.\d s\n", capfd.readouterr().err)
    assert len((tmp_path / LOG).read_text().splitlines()) == 3


def test_a_log_that_cannot_be_written_is_named(tmp_path):
    (tmp_path / LOG).mkdir()
    with pytest.raises(SaveError, match=r"could not write .*log.txt: Is a directory; the same command goes on"):
        tell("a", tmp_path)


@pytest.mark.parametrize(("seconds", "text"), [(0.4, "0:00"), (190, "3:10"), (3599.6, "1:00:00"), (187390, "52:03:10")])
def test_times_are_read_as_a_clock(seconds, text):
    assert clock(seconds) == text


def test_an_error_is_the_last_line_of_the_logs_that_its_command_wrote(tmp_path):
    @failure_noted()
    def work() -> None:
        tell("one", tmp_path)
        raise ValueError("no room at postgresql://u:SECRET@h/d\nand more")

    with pytest.raises(ValueError, match="no room"):
        work()
    assert (tmp_path / LOG).read_text().splitlines()[1:] == ["one", "failed: no room at postgresql://u:***@h/d"]


def test_what_is_said_of_a_folder_beside_stands_in_the_log_of_its_place(tmp_path):
    tell("one", tmp_path)
    with logged_in(tmp_path, tmp_path / "side"):
        tell("two", tmp_path / "side")
    assert (tmp_path / LOG).read_text().splitlines()[1:] == ["one", "two"] and not (tmp_path / "side").exists()
