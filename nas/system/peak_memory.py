"""How much memory a process needs that does nothing but run one network's file."""

from __future__ import annotations

from multiprocessing import get_context
from multiprocessing.connection import Connection
from pathlib import Path

import psutil

from nas.system.processes import safe_path

NUM_RUNS = 5
MIB = 2**20


def peak_memory_mib(path: Path, shape: tuple[int, ...]) -> float:
    """Most MiB that a new process holds which runs the ONNX file by ONNX Runtime's processor on zeros of this shape."""
    spawn = get_context("spawn")
    ours, theirs = spawn.Pipe(duplex=False)
    process = spawn.Process(target=_run, args=(theirs, str(path), shape))
    with safe_path():
        process.start()
    theirs.close()
    try:
        return ours.recv()
    except EOFError:
        raise ValueError(f"a process of its own must run {path}, and ended with status {process.exitcode}") from None
    finally:
        process.join()


def _run(answer: Connection, path: str, shape: tuple[int, ...]) -> None:
    import numpy as np
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    images = {session.get_inputs()[0].name: np.zeros(shape, dtype=np.float32)}
    for _ in range(NUM_RUNS):
        session.run(None, images)
    answer.send(_peak_bytes() / MIB)


def _peak_bytes() -> int:
    """Of this process; where the system does not say it, what the process holds now."""
    status = Path("/proc/self/status")
    if not status.exists():
        return psutil.Process().memory_info().rss
    line = next(line for line in status.read_text().splitlines() if line.startswith("VmHWM"))
    return 1024 * int(line.split()[1])
