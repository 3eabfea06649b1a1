"""Processes that share the work of a step: when one of them dies, the others say in what, and end."""

from __future__ import annotations

import os
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from subprocess import Popen
from typing import Any

from nas.errors import PEER_GONE, PeerGone, is_peer_gone

LOOK_S = 1.0
"""Between looks at whether the others are there."""
SILENCE_S = 120.0
"""After which one who gives no sign of life counts as dead."""
PATIENCE_S = 5.0
"""How long a process has to find out by itself: one that waits for a GPU does not."""
_at_work: list[str] = []
"""What this process does with others, the innermost last."""


@contextmanager
def working_together(what: str) -> Iterator[None]:
    """Inside, this process does `what` with others. Raises PeerGone when one of them is gone."""
    _at_work.append(what)
    try:
        yield
    except RuntimeError as error:
        if is_peer_gone(error):
            raise PeerGone(_gone()) from error
        raise
    finally:
        _at_work.pop()


def end_with_children(launcher: Any) -> None:
    """Has this process end when one that Lightning's `launcher` has started for it dies.

    In the place of Lightning's own observer, which kills this process without a word; it has nothing to observe then.
    """
    children: list[Popen] = list(getattr(launcher, "procs", ()))
    if children:
        launcher.procs.clear()
        _watch(lambda: any(child.poll() for child in children))


def end_with_others(rank: int, num: int) -> None:
    """Has this process end when another of `num` gives no sign of life while they work together.

    For NCCL, which waits for the dead; gloo finds out by itself. Signs of life are in the store at which the processes
    have met, which the first of them, or `torchrun`, keeps.
    """
    from torch.distributed import TCPStore

    store = TCPStore(os.environ["MASTER_ADDR"], int(os.environ["MASTER_PORT"]), is_master=False)
    seen = [(-1, 0.0)] * num

    def is_one_gone() -> bool:
        try:
            beats = [store.add(f"alive/{other}", int(other == rank)) for other in range(num)]
        except RuntimeError:  # the store ends with who keeps it
            return bool(_at_work)
        now = time.monotonic()
        for other, beat in enumerate(beats):
            if beat != seen[other][0] or not _at_work:
                seen[other] = (beat, now)
        return any(now - since > SILENCE_S for _, since in seen)

    _watch(is_one_gone)


def _watch(is_one_gone: Callable[[], bool]) -> None:
    def watch() -> None:
        while not is_one_gone():
            time.sleep(LOOK_S)
        time.sleep(PATIENCE_S)
        print(f"nas: {_gone()}", file=sys.stderr, flush=True)
        os._exit(2)

    threading.Thread(target=watch, daemon=True).start()


def _gone() -> str:
    return f"{_at_work[-1]}: {PEER_GONE}" if _at_work else PEER_GONE
