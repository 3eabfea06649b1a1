"""A study's files: whatever bit of them flips is said with the file's name, or changes nothing."""

import random
import shutil
import sqlite3
from pathlib import Path

import optuna
import pytest
from optuna.storages import JournalStorage
from optuna.storages.journal import JournalFileBackend

from nas.study.files import DatabaseChecksum
from nas.study.storage import open_storage

KINDS = ["study.db", "study.journal", "study.log"]


def tell(storage, num_trials: int) -> None:
    study = optuna.create_study(study_name="s", storage=storage, load_if_exists=True)
    for _ in range(num_trials):
        trial = study.ask()
        trial.set_user_attr("changes", {"loss.alpha": trial.suggest_float("x", 0, 1)})
        study.tell(trial, trial.params["x"] ** 2)


def trials(storage) -> list[tuple]:
    found = optuna.load_study(study_name="s", storage=storage).get_trials()
    return [(trial.number, trial.state, trial.values, trial.params, trial.user_attrs) for trial in found]


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    """Studies of three trials: making a database's tables takes a second."""
    folder = tmp_path_factory.mktemp("studies")
    for name in KINDS:
        tell(open_storage(str(folder / name)), 3)
    return folder


@pytest.fixture
def folder(written, tmp_path):
    return Path(shutil.copytree(written, tmp_path / "studies"))


@pytest.fixture(params=KINDS)
def path(request, folder):
    return folder / request.param


@pytest.fixture
def database(folder):
    return folder / "study.db"


def test_a_flipped_bit_is_named_or_changes_nothing(path):
    content, expected, rng = path.read_bytes(), trials(open_storage(str(path))), random.Random(0)
    ends = [8 * place + bit for place in (len(content) - 1, len(content) - 2) for bit in range(8)]
    refused = []
    for flip in [*ends, *rng.sample(range(8 * len(content)), 100)]:
        damaged = bytearray(content)
        damaged[flip // 8] ^= 1 << flip % 8
        path.write_bytes(damaged)
        try:
            assert trials(open_storage(str(path))) == expected, flip
        except ValueError as error:
            refused.append(str(error))
    assert len(refused) > 80 and all(path.name in said and "\n" not in said for said in refused)


def test_a_study_goes_on_from_a_file_without_checksums(path):
    if path.suffix == ".db":
        DatabaseChecksum(path).path.unlink()
    else:
        path.unlink()
        tell(JournalStorage(JournalFileBackend(str(path))), 3)
    tell(open_storage(str(path)), 1)
    assert [number for number, *_ in trials(open_storage(str(path)))] == [0, 1, 2, 3]


def test_a_killed_transaction_is_no_damage(database, monkeypatch):
    with monkeypatch.context() as patched:
        patched.setattr(DatabaseChecksum, "write", lambda self: None)  # killed behind the commit
        tell(open_storage(str(database)), 1)
    tell(open_storage(str(database)), 1)
    assert len(trials(open_storage(str(database)))) == 5 and DatabaseChecksum(database).path.read_bytes()


def test_another_program_may_change_the_database_on_purpose(database):
    with sqlite3.connect(database) as other:
        other.execute("UPDATE trial_values SET value = 7")
    other.close()
    with pytest.raises(ValueError, match=r"study.db is not what was written there.* remove study.db.sha256"):
        open_storage(str(database))
    DatabaseChecksum(database).path.unlink()
    assert trials(open_storage(str(database)))[0][2] == [7.0]


def test_a_removed_database_leaves_no_trace(database):
    database.unlink()
    DatabaseChecksum(database).compare()


def test_a_line_cut_short_counts_as_not_written(folder):
    path = folder / "study.journal"
    with path.open("ab") as file:
        file.write(b'{"op_code":4,"worker_id":"a')
    storage = open_storage(str(path))
    assert len(trials(storage)) == 3
    tell(storage, 2)
    assert len(trials(storage)) == len(trials(open_storage(str(path)))) == 5


def test_two_readers_of_a_journal_see_what_the_other_writes(folder):
    one, other = (open_storage(str(folder / "study.journal")) for _ in range(2))
    for storage in (one, other, one):
        tell(storage, 1)
    assert trials(one) == trials(other) and len(trials(one)) == 6
