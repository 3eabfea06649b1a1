"""Workers as actors of Ray, which go on when this command has ended."""

from __future__ import annotations

import os
import shutil
import signal
from collections.abc import Iterator, Mapping, Sequence
from contextlib import chdir, contextmanager
from pathlib import Path
from typing import Any

from nas.cli.submit.ray_worker import MOST_RESTARTS, Worker, has_head
from nas.cli.submit.submission import Submission, arguments_of, folder_of_logs
from nas.errors import first_line
from nas.study.place import STORAGE

NAMESPACE = "nas"
CONNECT_S = 30.0
"""How long Ray may take to let this process in."""
BEGIN_S = 20.0
"""How long is waited for workers to begin; those for which nothing is free begin later."""


def start(given: Submission, command: Sequence[str], folder: Path) -> tuple[list[str], Path]:
    """The actors' names, and the folder of their logs. Raises ValueError without Ray, where no head answers, for more
    than its cluster has, and where a worker cannot begin."""
    ray = _ray()
    head = _head(given.address or "auto")
    logs = folder_of_logs(folder)
    try:
        with _connected(ray, head, logs):
            has = [node["Resources"] for node in ray.nodes() if node["Alive"]]
            cpus = _cores(given, has)
            _check_cluster(given, cpus, has)
            ids = [f"{command[0]}-{logs.name}-{number}" for number in range(given.num_workers)]
            _start(ray, ids, cpus, bool(given.gpus), (arguments_of(command, cpus), head, Path.cwd(), logs))
    except ValueError:
        shutil.rmtree(logs)
        raise
    return ids, logs


def _start(ray: Any, names: Sequence[str], cpus: int, has_gpu: bool, how: tuple[object, ...]) -> None:
    environment = {name: os.environ[name] for name in (STORAGE,) if name in os.environ}
    if not has_gpu:
        environment["CUDA_VISIBLE_DEVICES"] = ""
    kind = ray.remote(num_cpus=cpus, num_gpus=int(has_gpu), max_restarts=MOST_RESTARTS, scheduling_strategy="SPREAD")(
        Worker
    )
    actors = [kind.options(name=name, lifetime="detached").remote(*how, name, environment) for name in names]
    begun, _ = ray.wait([actor.begun.remote() for actor in actors], num_returns=len(actors), timeout=BEGIN_S)
    try:
        ray.get(begun)
    except ray.exceptions.RayError as error:
        for actor in actors:
            ray.kill(actor)
        why = getattr(error, "cause", None) or error
        raise ValueError(
            f"a worker cannot begin on its node: {first_line(why)}: each node needs this toolkit, and this folder"
        ) from error


def _ray() -> Any:
    try:
        import ray
    except ModuleNotFoundError:
        raise ValueError("`nas submit --engine ray` needs Ray: pip install 'nas-reid[ray]'") from None
    return ray


def _head(address: str) -> str:
    """`host:port` of a head that answers: Ray itself would ask for minutes."""
    from ray._private.services import canonicalize_bootstrap_address_or_die

    begin = "start one with `ray start --head`, and on each other machine `ray start --address HOST:PORT`"
    if "://" in address:
        raise ValueError(
            f"--address is that of Ray's head, host:port or auto, not {address}: give the command on a node"
        )
    try:
        head = canonicalize_bootstrap_address_or_die(address)
    except ConnectionError as error:
        raise ValueError(f"there is no cluster of Ray on this machine: {begin}") from error
    except ValueError as error:
        raise ValueError(f"--address must be host:port or auto, not {address!r}") from error
    if not has_head(head):
        raise ValueError(f"no head of Ray answers at {head}: {begin}")
    return head


class TooLong(BaseException):
    """Ray goes on after any `Exception`."""


@contextmanager
def _within(seconds: float) -> Iterator[None]:
    """Raises TooLong in what takes longer: Ray asks for ever where a head is there without its nodes."""

    def stop(number: int, frame: object) -> None:
        raise TooLong(f"its head does not let it in within {seconds:.0f} seconds: start it again")

    before = signal.signal(signal.SIGALRM, stop)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


@contextmanager
def _connected(ray: Any, head: str, empty: Path) -> Iterator[None]:
    """Inside, this process can use the cluster. Ray lets workers import what lies in the folder in which it begins:
    that is `empty`."""
    try:
        with chdir(empty), _within(CONNECT_S):
            ray.init(head, namespace=NAMESPACE, log_to_driver=False, logging_level="ERROR")
    except (ConnectionError, RuntimeError, TooLong) as error:
        raise ValueError(f"Ray's cluster at {head} cannot be used from here: {first_line(error)}") from error
    try:
        yield
    finally:
        ray.shutdown()


def _cores(given: Submission, nodes: Sequence[Mapping[str, float]]) -> int:
    """Of each worker: one, or its GPU's share of its node's."""
    shares = [node["CPU"] // node["GPU"] for node in nodes if given.gpus and node.get("GPU")]
    return given.cpus or max(1, int(min(shares, default=1)))


def _check_cluster(given: Submission, cpus: int, nodes: Sequence[Mapping[str, float]]) -> None:
    """Raises ValueError where not all workers could be at work at the same time."""
    for what, asked, flags in (
        ("GPU", given.num_workers if given.gpus else 0, "--gpus or --nodes"),
        ("CPU", given.num_workers * cpus, "--workers, --nodes or --cpus"),
    ):
        has = int(sum(node.get(what, 0) for node in nodes))
        if asked > has:
            raise ValueError(
                f"{given.num_workers} workers need {asked} {what}s, and Ray's cluster has {has}: lower {flags}, or add "
                "machines with `ray start --address HOST:PORT`"
            )
