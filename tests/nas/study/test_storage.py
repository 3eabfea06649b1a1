"""Where a study is kept, whatever its name, and what is said when it is not there."""

import subprocess
import sys

import optuna
import pytest
from optuna.trial import TrialState
from sqlalchemy.exc import OperationalError

from nas.study import storage
from nas.study.engine import Engine, Outcome, Plan
from nas.study.storage import PATIENCE_S, check_locks, open_storage, retry, unreachable
from tests.ranks import free_port

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


@pytest.mark.filterwarnings("always")
def test_that_a_storage_is_away_is_said_once(monkeypatch, recwarn):
    monkeypatch.setattr("time.sleep", lambda seconds: None)
    reasons = ["refused", "starting up", "shutting down"]

    def ask():
        if reasons:
            raise OperationalError("", {}, ConnectionError(reasons.pop()))

    retry(ask)
    assert len(recwarn) == 1


@pytest.mark.parametrize(
    "kind, name, said",
    [
        ("nfs4", "study.journal", ""),
        ("lustre", "study.log", ""),
        ("ext4", "study.db", ""),
        ("", "study.db", ""),
        ("nfs", "study.db", "on nfs, where a SQLite file may be damaged: give --storage a name that ends in .journal"),
        ("cifs", "study.journal", "on cifs, whose locks are not known to hold.*or --storage postgresql://"),
        ("fuse.sshfs", "study.db", "on fuse.sshfs, whose locks"),
    ],
)
def test_a_file_is_refused_where_its_locks_do_not_hold(tmp_path, monkeypatch, kind, name, said):
    monkeypatch.setattr(storage, "file_system_of", lambda path: kind)
    if not said:
        check_locks(tmp_path / name)
        return
    with pytest.raises(ValueError, match=said):
        open_storage(str(tmp_path / name))
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("address", ["grpc://host", "grpc://me:SECRET@host:1", "grpc://host:1/database"])
def test_an_address_of_no_proxy(address):
    with pytest.raises(ValueError, match="address is grpc://host:port, not") as error:
        open_storage(address)
    assert "SECRET" not in str(error.value)


def test_a_proxy_that_is_not_there(monkeypatch):
    monkeypatch.setattr(storage, "PROXY_S", 0.1)
    with pytest.raises(ValueError, match="grpc://127.0.0.1:1 cannot be reached"):
        open_storage("grpc://127.0.0.1:1")


def test_of_a_proxys_error_its_details_are_said(monkeypatch):
    class Away(storage.RpcError):
        def __str__(self) -> str:
            return "<RPC that terminated with:\n>"

        def details(self) -> str:
            return "failed to connect to all addresses\nand more"

    monkeypatch.setattr("time.sleep", lambda seconds: None)
    answers = [Away(), None]

    def ask():
        if error := answers.pop(0):
            raise error

    with pytest.warns(UserWarning, match=r"10 minutes: failed to connect to all addresses \(\d\d:\d\d:\d\d\)$"):
        retry(ask)


PROXY = """
import sys, warnings
warnings.simplefilter("ignore")
from optuna.storages import get_storage, run_grpc_proxy_server
run_grpc_proxy_server(get_storage(sys.argv[1]), host="127.0.0.1", port=int(sys.argv[2]))
"""


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:the study's storage is away")
def test_a_worker_behind_a_proxy_survives_its_restart(tmp_path):
    port = free_port()
    command = [sys.executable, "-c", PROXY, f"sqlite:///{tmp_path / 'study.db'}", str(port)]
    proxies = [subprocess.Popen(command)]
    opened = open_storage(f"grpc://127.0.0.1:{port}")
    study = optuna.create_study(study_name="s", storage=opened, direction="maximize")

    def do(trial: optuna.Trial) -> Outcome:
        if trial.user_attrs["place"] == 2:
            proxies[-1].kill()
            proxies[-1].wait()
            proxies.append(subprocess.Popen(command))
        return Outcome(values=[trial.user_attrs["place"]])

    Engine(study, opened, lambda number, ended: Plan(), 5, 60.0).work(do)
    trials = study.get_trials()
    proxies[-1].kill()
    proxies[-1].wait()
    opened.close()
    assert [trial.value for trial in trials] == [0, 1, 2, 3, 4]
    assert {trial.state for trial in trials} == {TrialState.COMPLETE}
