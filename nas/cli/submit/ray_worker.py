"""A worker on a node of Ray: an actor that holds its place there, and the process of the command that it starts.

The process outlives Ray's head, without which Ray ends its actors: it works on until there is a head at that address
again, which knows nothing of it and would give its place to others. It then gives its trial back.
"""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from signal import SIGINT, SIGTERM

from nas.cli.main import main
from nas.system.processes import SAFE_PATH, stop_after

MOST_RESTARTS = 10
"""Deaths of its process, its actor or its machine after which Ray does not start a worker again."""
FINAL = (0, 2, 128 + SIGINT, 128 + SIGTERM)
"""Ends of the command after which it is not started again: the study is over, the command is wrong, or a user ended
it."""
KILLED_S = 30.0
"""How long Ray may take to end an actor that asked for it."""
LOOK_S = 5.0
"""Between looks at whether there is a head again."""
REACHED_S = 5.0
"""How long a head may take to be reached."""


class Worker:
    """The actor. It starts `nas ARGUMENTS` in the folder that the command was submitted in, with `environment` beside
    its node's own. What the process says is in `NAME.out` and `NAME.err` in the folder `logs`."""

    def __init__(
        self, arguments: Sequence[str], head: str, cwd: Path, logs: Path, name: str, environment: Mapping[str, str]
    ) -> None:
        logs.mkdir(mode=0o700, parents=True, exist_ok=True)  # where nodes do not share it
        with (logs / f"{name}.out").open("ab") as out, (logs / f"{name}.err").open("ab") as err:
            self.process = subprocess.Popen(
                [sys.executable, "-u", "-m", "nas.cli.submit.ray_worker", head, *arguments],
                cwd=cwd,
                env=os.environ | environment | {SAFE_PATH: "1"},
                stdin=subprocess.PIPE,  # held open by this actor alone
                stdout=out,
                stderr=err,
            )
        threading.Thread(target=self._end_with_process, daemon=True).start()

    def begun(self) -> None:
        """Returns once there is a process."""

    def _end_with_process(self) -> None:
        """Ray starts an actor again that dies, and not one that is taken away."""
        import ray

        if self.process.wait() in FINAL:
            ray.kill(ray.get_runtime_context().current_actor)
            time.sleep(KILLED_S)
        os._exit(1)


def has_head(address: str) -> bool:
    """Whether somebody listens at `host:port`."""
    host, _, port = address.rpartition(":")
    try:
        socket.create_connection((host.strip("[]"), int(port)), REACHED_S).close()
    except OSError:
        return False
    return True


def wait_for_end(head: str) -> None:
    """Returns when the actor is gone, of which this process's input is the end, and a head is there."""
    sys.stdin.buffer.read()
    if not has_head(head):
        print(f"nas: Ray's head {head} is lost; this worker goes on until there is one again", file=sys.stderr)
    while not has_head(head):
        time.sleep(LOOK_S)


def leave_parent() -> None:
    """Goes on in a new process. The one that the actor started waits for its end, and has its status: Ray kills the
    children of an actor that it ends, and not theirs."""
    if child := os.fork():
        os._exit(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) % 256)
    os.setsid()


if __name__ == "__main__":
    _, address, *words = sys.argv
    sys.argv = ["nas", *words]
    leave_parent()
    stop_after(lambda: wait_for_end(address))
    sys.exit(main())
