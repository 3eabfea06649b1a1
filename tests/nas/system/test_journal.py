"""A journal on disk: several readers, torn lines, and trials that die with who had them."""

import os
import random
import subprocess
import sys

import pytest

from nas.system.journal import FileJournal

LINES = [{"ask": 0, "architecture": {}}, {"tell": 0, "score": 0.5}, {"ask": 1, "text": "é\n"}]


@pytest.fixture
def path(tmp_path):
    return tmp_path / "run" / "search.trials.jsonl"


def written(journal: FileJournal, *lines: dict) -> None:
    with journal.lock():
        journal.read_new()
        for line in lines:
            journal.add(line)


def news(journal: FileJournal) -> list[dict]:
    with journal.lock():
        return journal.read_new()


def test_each_reader_sees_every_line_of_others_once(path):
    one, other = FileJournal(path), FileJournal(path)
    written(one, *LINES[:2])
    assert (news(one), news(other), news(other)) == ([], LINES[:2], [])
    written(other, LINES[2])
    assert (news(one), news(other), news(FileJournal(path))) == ([LINES[2]], [], LINES)


def test_a_line_cut_short_was_never_written(path):
    written(FileJournal(path), *LINES)
    whole = path.read_bytes()
    path.write_bytes(whole + b'{"tell": 1, "sco')
    journal = FileJournal(path)
    assert news(journal) == LINES and path.read_bytes() == whole
    written(journal, {"tell": 1})
    assert news(FileJournal(path)) == [*LINES, {"tell": 1}]
    path.write_bytes(b'{"tell"')
    assert news(FileJournal(path)) == [] and path.read_bytes() == b""


def test_a_broken_line_is_named(path):
    written(FileJournal(path), *LINES)
    path.write_bytes(b"nonsense\n" + path.read_bytes())
    with pytest.raises(ValueError, match="search.trials.jsonl must have a JSON object in each line.*--overwrite"):
        news(FileJournal(path))


def test_a_flipped_bit_is_named_or_changes_nothing(path):
    written(FileJournal(path), *LINES)
    whole, refused = path.read_bytes(), []
    last = 8 * len(whole) - 8
    for bit in (*range(last, last + 8), *random.Random(0).sample(range(last), 200)):
        flipped = bytearray(whole)
        flipped[bit // 8] ^= 1 << bit % 8
        path.write_bytes(flipped)
        try:
            assert news(FileJournal(path)) == LINES, bit
        except ValueError as error:
            refused.append(str(error))
    assert len(refused) > 170 and all(path.name in said for said in refused)


def test_a_trial_has_one_worker(path):
    one, other = FileJournal(path), FileJournal(path)
    assert one.acquire(3) and not other.acquire(3) and other.acquire(4)
    one.release(3)
    assert other.acquire(3)


def test_the_dead_have_no_trial(path):
    code = (
        "import sys, time; from pathlib import Path\n"
        "from nas.system.journal import FileJournal\n"
        "journal = FileJournal(Path(sys.argv[1])); assert journal.acquire(0); print('taken', flush=True)\n"
        "time.sleep(60)"
    )
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}
    with subprocess.Popen(
        [sys.executable, "-c", code, str(path)], stdout=subprocess.PIPE, text=True, env=environment
    ) as worker:
        assert worker.stdout.readline() == "taken\n"
        journal = FileJournal(path)
        assert not journal.acquire(0)
        worker.kill()
        worker.wait()
        assert journal.acquire(0)
