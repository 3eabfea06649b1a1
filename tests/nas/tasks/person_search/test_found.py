"""What is found in frames does not depend on how many of them a network sees at once, whatever their sizes."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from PIL import Image

from nas.data.scene_cache import SceneCache, SceneSize
from nas.data.scenes import SceneSplit, SearchQueries
from nas.tasks.person_search.found import find
from nas.tasks.person_search.settings import SearchEvaluation
from nas.training.machine import Machine
from nas.training.stage import Stage
from runs.recipes.person_search import toy_street

SIZES = [(96, 64), (64, 96), (96, 64), (150, 40), (64, 96), (96, 64), (90, 64)]


class Noise:
    """Frames of these sizes, none like another."""

    def __len__(self) -> int:
        return len(SIZES)

    def name(self, i: int) -> str:
        return f"{i}.png"

    def read(self, i: int) -> Image.Image:
        width, height = SIZES[i]
        return Image.fromarray(np.random.default_rng(i).integers(0, 256, (height, width, 3), dtype=np.uint8))


@pytest.fixture(scope="module")
def stage(tmp_path_factory) -> Stage:
    return Stage(tmp_path_factory.mktemp("stage"), "evaluate", "", Machine(device="cpu"))


@pytest.fixture(scope="module")
def net() -> torch.nn.Module:
    """One that nobody trained, whom nearly every region is a person to."""
    torch.manual_seed(0)
    space = toy_street().space.with_ids(3)
    return replace(space, found=replace(space.found, score=0.01)).student()


def test_frames_of_any_sizes_are_looked_at_in_batches_of_any_size(net, stage):
    cache = SceneCache(
        SceneSplit(
            images=Noise(),
            boxes=tuple(np.array([[5.0, 5, 30, 39]]) for _ in SIZES),
            ids=tuple(np.array([i % 3]) for i in range(len(SIZES))),
        ),
        SceneSize(short_side=64, long_side=128),
    )
    asked = np.array([6, 0, 3, 0, 1])
    queries = SearchQueries(frames=asked, boxes=np.array([[2.0, 3, 20 + i, 38] for i in range(5)]), ids=asked % 3)
    seen: list[list[tuple[int, ...]]] = []
    net.register_forward_pre_hook(lambda _, scenes: seen[-1].append(tuple(scenes[0].sizes[:, 0].tolist())))
    found = {}
    for batch_size in (1, 2, 99):
        seen.append([])
        found[batch_size] = find(net, cache, queries, stage, SearchEvaluation(batch_size=batch_size))
    assert [len(batches) for batches in seen] == [7, 5, 4] and all(len(set(one)) == 1 for one in seen[2])
    alone = found[1]
    assert alone.frames.tolist() == sorted(alone.frames.tolist()) and set(alone.frames.tolist()) == set(range(7))
    for frame, (width, height) in enumerate(SIZES):
        assert (alone.boxes[alone.frames == frame].max(axis=0) <= [width, height, width, height]).all()
    for other in (found[2], found[99]):
        assert np.array_equal(alone.frames, other.frames)
        for name in ("boxes", "scores", "features", "queries"):
            torch.testing.assert_close(*map(torch.as_tensor, (getattr(alone, name), getattr(other, name))),
                                       atol=1e-4, rtol=1e-4)  # fmt: skip
