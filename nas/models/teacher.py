"""A teacher's file."""

from __future__ import annotations

from pathlib import Path

from nas.models.network import Network
from students.space import check_task
from teachers.teacher import check_identities


def load_teacher(path: Path, identities: tuple[int, ...], data: str, task: object) -> Network:
    """The network in `path`, to teach on the data set named `data`, which is for `task`.

    Raises ValueError when the file is missing or damaged, is another project's or for another task, or knows other
    identities than `identities`, in their order.
    """
    if path.is_file() and path.suffix != ".safetensors":
        raise ValueError(
            f"the teacher {path} must be a safetensors file of `nas teach` or `nas retrain`; one of another project "
            "teaches by --teacher.training.pretrained FILE --teacher.training.frozen"
        )
    network = Network.load(path)
    check_task(f"the teacher {path} ({network.title})", network.space.task, task)
    check_identities(f"the teacher {path}", network.identities, identities, data)
    return network
