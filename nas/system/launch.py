"""What `torchrun`, SLURM's `srun` or the environment of several nodes says of this process."""

from __future__ import annotations

import os
from dataclasses import dataclass

RANKS = ("RANK", "LOCAL_RANK", "NODE_RANK", "GROUP_RANK", "SLURM_PROCID")
"""What launchers of data-parallel processes set: all of them are 0 in the first of these."""
ON_NODE = "LOCAL_WORLD_SIZE"
"""The variable with the number of processes on a node that share the work."""
BY_HAND = ("NODE_RANK", "MASTER_ADDR", "MASTER_PORT")
"""What each node must be told where the command is started there by hand."""


@dataclass(frozen=True)
class Launch:
    """Several processes that were started with one command."""

    by: str
    """The program that started them."""
    num_processes: int
    """On all nodes together."""
    num_nodes: int
    local_rank: int
    """Of this process on its node."""


def launch() -> Launch | None:
    """That of this process; None for one that was started alone, or by this program.

    A job's own script is alone, whatever SLURM was asked for: only `srun` starts tasks.
    """
    env = os.environ
    if {"RANK", "WORLD_SIZE", "LOCAL_RANK"} <= env.keys():
        names = ("torchrun", "WORLD_SIZE", "GROUP_WORLD_SIZE", "LOCAL_RANK")
    elif {"SLURM_STEP_NUM_TASKS", "SLURM_LOCALID"} <= env.keys():
        names = ("srun", "SLURM_STEP_NUM_TASKS", "SLURM_STEP_NUM_NODES", "SLURM_LOCALID")
    else:
        return None
    by, processes, nodes, local_rank = names
    found = Launch(by, int(env[processes]), int(env.get(nodes, "1")), int(env[local_rank]))
    return found if found.num_processes > 1 else None


def is_first() -> bool:
    """Whether this is the first of the processes that share one command's batches, if it is one of several."""
    return all(os.environ.get(name, "0") == "0" for name in RANKS)


def num_on_node() -> int:
    """Processes on this node that share the work of a step, as far as they have met."""
    from torch import distributed

    return int(os.environ.get(ON_NODE, distributed.get_world_size())) if distributed.is_initialized() else 1


def check_launch(devices: int, num_nodes: int) -> None:
    """Raises ValueError unless the processes that were started are `devices` on each of `num_nodes` nodes. Where
    nobody has started any, this program does, on its node."""
    found, asked = launch(), f"--machine.devices {devices} and --machine.num-nodes {num_nodes}"
    if found and (found.num_processes, found.num_nodes) != (devices * num_nodes, num_nodes):
        raise ValueError(
            f"{asked} are {devices * num_nodes} processes, and {found.by} has started {found.num_processes} on "
            f"{found.num_nodes} node{'s' * (found.num_nodes > 1)}: give the command and {found.by} the same numbers"
        )
    if found and found.local_rank >= devices:
        raise ValueError(
            f"{asked} are {devices} processes on each node, and this one is number {found.local_rank + 1} on its node: "
            f"let {found.by} start as many on each"
        )
    if found or num_nodes == 1:
        return
    if missing := [name for name in BY_HAND if not os.environ.get(name)]:
        raise ValueError(
            f"{asked} need to know which node this is: start the command with torchrun or srun, or set "
            f"{', '.join(BY_HAND)} on each node; missing here: {', '.join(missing)}"
        )
    rank = os.environ["NODE_RANK"]
    if not rank.isdecimal() or int(rank) >= num_nodes:
        raise ValueError(f"NODE_RANK must be 0 to {num_nodes - 1} with --machine.num-nodes {num_nodes}, not {rank!r}")
