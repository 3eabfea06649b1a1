"""A teacher's file."""

from __future__ import annotations

from pathlib import Path

from nas.models.network import Network
from teachers.teacher import check_identities


def load_teacher(path: Path, identities: tuple[int, ...], data: str) -> Network:
    """The network in `path`, to teach on the data set named `data`.

    Raises ValueError when the file is missing or damaged, or knows other identities than `identities`, in their order.
    """
    network = Network.load(path)
    check_identities("the teacher", network.identities, identities, data)
    return network
