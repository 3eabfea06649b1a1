"""Where a study is kept: a SQLite file, a journal file, a database that many machines reach, or a proxy before it."""

from __future__ import annotations

import sqlite3
import time
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal, TypeVar

import optuna
from optuna import Study
from optuna.exceptions import ExperimentalWarning, StorageInternalError
from optuna.pruners import BasePruner
from optuna.samplers import BaseSampler
from optuna.storages import BaseStorage, GrpcStorageProxy, JournalStorage, RDBStorage
from sqlalchemy import Connection, NullPool, event
from sqlalchemy.engine import URL, make_url
from sqlalchemy.exc import ArgumentError, SQLAlchemyError

from nas.errors import first_line, without_secrets
from nas.study.files import LOCK, CheckedConnection, DatabaseChecksum, StudyJournal
from nas.system.config import differences
from nas.system.locks import locked
from nas.system.mounts import CREATES, file_system_of, is_network

JOURNALS = (".journal", ".log")
DRIVER = "postgresql+psycopg"
PATIENCE_S = 600.0
"""How long a result waits for a database that is away."""
MAKING_S = 3.0
"""How long another process may take to make a database's tables, at which two at once fail."""
PROXY = "grpc://"
PROXY_S = 10.0
"""How long a proxy may take to answer at first."""

try:
    from grpc import RpcError
except ImportError:  # then there is no proxy whose errors these would be

    class RpcError(Exception):  # type: ignore[no-redef] # in place of the other
        """Of gRPC."""


UNREACHABLE = (SQLAlchemyError, StorageInternalError, RpcError)

T = TypeVar("T")
Direction = Literal["minimize", "maximize"]


def open_storage(address: str, must_exist: bool = False) -> BaseStorage:
    """The storage at a database's address (`postgresql://user@host/database`) or behind a proxy (`grpc://host:port`),
    in a journal (`.journal`, `.log`) or in a SQLite file.

    Raises ValueError when it cannot be reached, or lies where its locks do not hold.
    """
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    try:
        if address.startswith(PROXY):
            return _proxy(address)
        if "://" in address:
            return _database(address)
        check_locks(Path(address))
        if must_exist and not Path(address).is_file():
            raise ValueError(f"there is no study in {address}: give the --out folder or the --storage of a `nas tune`")
        if not address.endswith(JOURNALS):
            return _sqlite(address)
        Path(address).parent.mkdir(parents=True, exist_ok=True)
        return JournalStorage(StudyJournal(Path(address)))
    except ImportError as error:
        raise ValueError(
            f"the driver of {without_secrets(address)} is not installed ({error.__cause__ or error}): PostgreSQL's "
            "and gRPC's come with pip install 'nas-reid[tune]'"
        ) from None
    except (*UNREACHABLE, OSError) as error:
        raise unreachable(address, error) from None


def check_locks(path: Path) -> None:
    """Raises ValueError for a file on which several machines could write at once."""
    kind = file_system_of(path)
    if kind in CREATES and not path.name.endswith(JOURNALS):
        raise ValueError(
            f"{path} is on {kind}, where a SQLite file may be damaged: give --storage a name that ends in "
            f"{JOURNALS[0]}, a folder on a disk of this machine, or postgresql://user@host/database"
        )
    if is_network(kind) and kind not in CREATES:
        raise ValueError(
            f"{path} is on {kind}, whose locks are not known to hold between machines: give --out or --storage a place "
            "on a local disk, NFS, Lustre, GPFS or BeeGFS, or --storage postgresql://user@host/database"
        )


def _sqlite(path: str) -> RDBStorage:
    """The path goes to SQLite as it is: in an address `?`, `#` and `%` would mean something. No connection stays open
    behind its transaction, as nobody would close it.
    """

    def connect() -> sqlite3.Connection:
        return sqlite3.connect(
            path, timeout=60, isolation_level=None, check_same_thread=False, factory=CheckedConnection
        )

    checksum = DatabaseChecksum(Path(path))
    with locked(Path(f"{path}{LOCK}")):  # two at once would make the same tables
        checksum.compare()
        is_new = not checksum.database.exists()
        storage = RDBStorage("sqlite:///of-connect", engine_kwargs={"creator": connect, "poolclass": NullPool})
        if is_new:
            checksum.write()
    event.listen(storage.engine, "begin", _begin_alone)
    return storage


def _begin_alone(connection: Connection) -> None:
    connection.connection.driver_connection.keep_out_others()  # type: ignore[union-attr] # one of `connect`
    connection.exec_driver_sql("BEGIN IMMEDIATE")


def _database(address: str) -> RDBStorage:
    url = _url(address)
    if url.drivername == "postgresql":
        url = url.set(drivername=DRIVER)
    waits = {"connect_timeout": 10} if url.drivername == DRIVER else {}
    text, engine = url.render_as_string(hide_password=False), {"pool_pre_ping": True, "connect_args": waits}
    return retry(lambda: RDBStorage(text, engine_kwargs=engine), MAKING_S)


def _proxy(address: str) -> GrpcStorageProxy:
    """Optuna's proxy, which it calls experimental."""
    url = _url(address)
    if not url.host or not url.port or url.username or url.database:
        raise ValueError(f"a proxy's address is grpc://host:port, not {without_secrets(address)}: give --storage that")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ExperimentalWarning)
        proxy = GrpcStorageProxy(host=url.host, port=url.port)
    proxy.wait_server_ready(PROXY_S)
    return proxy


def _url(address: str) -> URL:
    """Raises ValueError, which does not quote what may hold a password."""
    try:
        return make_url(address)
    except (ArgumentError, ValueError):
        raise ValueError(
            "a storage is a file, or an address like postgresql://user:password@host:5432/database; the one given is "
            "neither. In a password, @ is written %40, / is %2F and : is %3A"
        ) from None


def unreachable(address: str, error: Exception) -> ValueError:
    """What to say of a storage that does not answer."""
    reason = _reason(error)
    for secret in secrets_in(address):
        reason = reason.replace(secret, "***")
    return ValueError(
        f"the study's storage {without_secrets(address)} cannot be reached: {reason}. What was told to it is "
        "there, and the same command goes on: start the database, or take a file with --storage FILE"
    )


def _reason(error: Exception) -> str:
    """What the driver says, in one line; gRPC's errors begin with a line that says nothing."""
    details = getattr(error, "details", None)
    return details().splitlines()[0] if callable(details) and details() else first_line(error.__cause__ or error)


@contextmanager
def reached(address: str) -> Iterator[None]:
    """Inside, a storage that does not answer is a ValueError that says so."""
    try:
        yield
    except UNREACHABLE as error:
        raise unreachable(address, error) from error


def secrets_in(address: str) -> list[str]:
    """The passwords in an address."""
    if "://" not in address:
        return []
    url = _url(address)
    asked = [text for name, text in url.query.items() if "password" in name and isinstance(text, str)]
    return [secret for secret in (url.password, *asked) if secret]


def retry(call: Callable[[], T], seconds: float = PATIENCE_S) -> T:
    """What `call` returns, tried again with growing pauses while its storage is away, which a warning says once."""
    end, pause, silent = time.monotonic() + seconds, 0.5, seconds != PATIENCE_S
    while True:
        try:
            return call()
        except UNREACHABLE as error:
            if time.monotonic() > end:
                raise
            if not silent:
                silent = True
                warnings.warn(
                    f"the study's storage is away, and asked again for up to {seconds / 60:.0f} minutes: "
                    f"{_reason(error)} ({time.strftime('%H:%M:%S')})",
                    stacklevel=2,
                )
        time.sleep(pause)
        pause = min(2 * pause, 30.0)


def join_study(
    storage: BaseStorage,
    address: str,
    name: str,
    facts: Mapping[str, Any],
    directions: Sequence[Direction],
    sampler: BaseSampler,
    pruner: BasePruner,
) -> Study:
    """The study `name`, begun or gone on with. `facts` is plain data that says what it is about.

    Raises ValueError naming both when the study there is about something else.
    """

    def begin() -> Study:
        study = optuna.create_study(
            study_name=name, storage=storage, directions=directions, sampler=sampler, pruner=pruner, load_if_exists=True
        )
        if "facts" not in study.user_attrs:
            study.set_user_attr("facts", dict(facts))
        return study

    study = retry(begin, MAKING_S)  # of two at once, a proxy refuses one
    if changes := differences(study.user_attrs["facts"], dict(facts)):
        raise ValueError(
            f"the study {name!r} in {without_secrets(address)} is of something else than this command "
            f"({'; '.join(changes[:5])}): give --out another folder, or --study another name"
        )
    return study
