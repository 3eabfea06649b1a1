"""A stage on the CPU."""

import pytest

from nas.training.machine import Machine
from nas.training.stage import Stage


@pytest.fixture(scope="module")
def fabric():
    return Machine(device="cpu").fabric()


@pytest.fixture
def stage(tmp_path, fabric):
    return Stage(tmp_path, "search", "", Machine(device="cpu"), fabric)
