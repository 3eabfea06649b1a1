"""Person search that two processes train together, by the real command."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from runs.recipes.person_search import toy_street
from students.identity_table import IdentityTable

OWN = """
import os
from pathlib import Path
import torch
from nas.recipe import Recipe
from runs.recipes.person_search import toy_street
from students.identity_table import IdentityTable

look_up = IdentityTable.forward

def told(table, features, labels):
    logits = look_up(table, features, labels)
    if table.training and not features.is_meta:
        rank = torch.distributed.get_rank()
        held = {name: tensor.clone() for name, tensor in table.named_buffers()}
        file = Path("seen", f"{len(list(Path('seen').glob(f'*.{rank}'))):03d}.{rank}")
        file.parent.mkdir(exist_ok=True)
        torch.save({"features": features.detach().clone(), "labels": labels.clone(), **held}, file)
    return logits

IdentityTable.forward = told

def street() -> Recipe:
    '''A teacher, a student with its table and a baseline, and what their tables are told.'''
    return toy_street()
"""
NUM_STEPS = 2
"""Of each network: two epochs of three batches, of which each process takes one."""


def seen(folder: Path, rank: int) -> list[dict[str, torch.Tensor]]:
    return [torch.load(path) for path in sorted(folder.glob(f"*.{rank}"))]


@pytest.mark.slow
def test_two_processes_have_one_table_which_learns_what_both_see(tmp_path):
    (tmp_path / "own.py").write_text(OWN)
    words = ["run", "own.py:street", "--out", "run", "--machine.devices", "2", "--machine.device", "cpu", "--json"]
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(path for path in sys.path if path)}
    done = subprocess.run(
        [sys.executable, "-m", "nas", *words],
        env=environment, cwd=tmp_path, capture_output=True, text=True, timeout=600, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    steps = list(zip(*(seen(tmp_path / "seen", rank) for rank in (0, 1)), strict=True))
    trained = [load_file(tmp_path / "run" / f"{name}.safetensors") for name in ("teacher", "student", "baseline")]
    assert len(steps) == 3 * NUM_STEPS
    for number, network in enumerate(trained):
        own = IdentityTable(4, 8, toy_street().space.matching)
        if network["identities.fixed"]:
            own.fix(trained[0]["identities.table"])
        for ranks in steps[number * NUM_STEPS : (number + 1) * NUM_STEPS]:
            assert not torch.equal(*(held["features"] for held in ranks)), "each process sees frames of its own"
            own.train()(*(torch.cat([held[name] for held in ranks]) for name in ("features", "labels")))
            for name, tensor in own.named_buffers():
                assert all(torch.equal(held[name], tensor) for held in ranks), name
        assert all(torch.equal(network[f"identities.{name}"], tensor) for name, tensor in own.named_buffers())
    assert [bool(network["identities.fixed"]) for network in trained] == [False, True, False]
