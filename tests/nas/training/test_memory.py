"""What no machine holds is refused before anything of it is there."""

from dataclasses import replace

import pytest
import torch
from torch import nn

from nas.data.images import Images
from nas.errors import exit_status
from nas.training import memory
from nas.training.machine import Machine
from nas.training.memory import check_memory, map_bytes
from runs.recipes.demo import toy

CPU = Machine(device="cpu")


@pytest.fixture
def net():
    with torch.device("meta"):
        return nn.Sequential(nn.Conv2d(3, 8, 3, 2, 1, bias=False), nn.ReLU(), nn.Flatten(), nn.Linear(8 * 8 * 4, 5))


def test_the_maps_that_the_backward_pass_reads(net):
    assert map_bytes(net, 16, 8) == 4 * (8 * 8 * 4 + 5)


@pytest.mark.parametrize("batch_size", [1, 100])
def test_the_estimate_is_of_parameters_images_and_maps(net, batch_size, monkeypatch):
    needed = 16 * (3 * 8 * 9 + 8 * 8 * 4 * 5 + 5) + batch_size * 4 * (3 * 16 * 8 + 8 * 8 * 4 + 5)
    monkeypatch.setattr(memory, "spare_bytes", lambda: needed)
    check_memory("the student", net, batch_size, 16, 8, CPU)
    monkeypatch.setattr(memory, "spare_bytes", lambda: needed - 1)
    with pytest.raises(ValueError, match=rf"the student needs .* a batch of {batch_size} images of 16x8, .*: lower"):
        check_memory("the student", net, batch_size, 16, 8, CPU)


def test_a_recipe_is_refused_before_it_computes():
    huge = replace(toy(), images=Images(height=8192, width=8192), teacher=None, machine=CPU)
    sampling = replace(huge.retrain.sampling, images_per_id=10_000)
    with pytest.raises(ValueError, match=r"^the student needs at least .* for a batch of 40000 images of 8192x8192"):
        replace(huge, strategy=None, retrain=replace(huge.retrain, sampling=sampling)).load()


@pytest.mark.parametrize(
    "error",
    [
        MemoryError(),
        RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory: you tried to allocate 9 bytes."),
        torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 GiB.\nGPU 0 has a total capacity"),
    ],
)
def test_memory_that_runs_out_all_the_same_is_one_line(error, capsys):
    def work():
        raise error

    assert exit_status(work) == 2
    said = capsys.readouterr().err
    assert said.startswith("nas: there is not enough memory: lower --images.height") and said.count("\n") == 1
