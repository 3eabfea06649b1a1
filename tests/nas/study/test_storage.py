"""Where a study is kept, whatever its name, and what is said when it is not there."""

import optuna
import pytest
from sqlalchemy.exc import OperationalError

from nas.study.storage import PATIENCE_S, open_storage, retry, unreachable

SECRETS = [
    "postgresql://user:SECRET@127.0.0.1:1/study",
    "postgresql://127.0.0.1:1/study?user=u&password=SECRET",
    "postgresql://user:SECRET@host:SECRET/study",
    "postgresql://user:SE/CRET@127.0.0.1:1/study",
    "unknown://user:SECRET@host/study",
]


@pytest.mark.parametrize("name", ["é a?b#c%20@:1.db", "a?b.journal"])
def test_a_file_may_have_any_name(tmp_path, name):
    optuna.create_study(study_name="s", storage=open_storage(str(tmp_path / name)))
    assert name in {path.name for path in tmp_path.iterdir()}
    assert all(path.name.startswith(name) for path in tmp_path.iterdir())
    assert optuna.get_all_study_names(open_storage(str(tmp_path / name))) == ["s"]


@pytest.mark.parametrize("address", SECRETS)
def test_no_password_is_in_what_is_said(monkeypatch, address):
    monkeypatch.setattr("nas.study.storage.MAKING_S", 0.0)
    with pytest.raises(ValueError, match="storage|driver") as error:
        open_storage(address)
    assert "SECRET" not in str(error.value) and "CRET" not in str(error.value)


@pytest.mark.parametrize("address", SECRETS[:2])
def test_no_password_is_in_what_a_driver_says(address):
    said = str(unreachable(address, ConnectionError("bad connection string: password SECRET")))
    assert "SECRET" not in said and "bad connection string: password ***" in said


def test_a_storage_that_is_away_for_a_while_is_asked_again_and_that_is_said(monkeypatch):
    monkeypatch.setattr("time.sleep", lambda seconds: None)
    answers = [OperationalError("", {}, ConnectionError("gone")), OperationalError("", {}, ConnectionError("gone")), 3]

    def ask():
        answer = answers.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return answer

    with pytest.warns(UserWarning, match=rf"storage is away, and asked again for up to {PATIENCE_S / 60:.0f} minutes"):
        assert retry(ask) == 3


def test_a_storage_that_stays_away_is_given_up(monkeypatch):
    def ask():
        raise OperationalError("", {}, ConnectionError("gone"))

    with pytest.raises(OperationalError):
        retry(ask, 0.0)
