"""Whether NNI is here, in the version that is known, with all that an algorithm needs."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec
from typing import Literal

VERSION = "3.0"

OneShot = Literal["DARTS", "GumbelDARTS", "Proxyless", "RandomOneShot", "ENAS"]

MultiTrial = Literal["Random", "GridSearch", "RegularizedEvolution", "TPE", "PolicyBasedRL"]

BY_CONTROLLER = ("ENAS", "PolicyBasedRL")
"""A network proposes, which learns by reinforcement."""


def check_installed(algorithm: str) -> None:
    """Raises ValueError unless NNI is here in the version that this adapter knows, with all that `algorithm` needs."""
    try:
        found = version("nni")
    except PackageNotFoundError:
        found = "none"
    if found != VERSION:
        raise ValueError(f"nni:{algorithm} needs NNI {VERSION} (found {found}): pip install 'nas-reid[nni]'")
    missing = [name for name in ("tianshou", "gym") if algorithm in BY_CONTROLLER and find_spec(name) is None]
    if missing:
        raise ValueError(
            f"nni:{algorithm} needs {' and '.join(missing)}, which NNI does not bring along: "
            "pip install tianshou==0.4.11 gym, or search with reinforce"
        )


@contextmanager
def quiet() -> Iterator[None]:
    """Without warnings, which NNI raises by the dozen."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield
