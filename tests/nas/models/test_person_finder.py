"""A network for person search finds in an image what the evaluation finds in a frame."""

import json

import numpy as np
import pytest
import torch

from nas.data.scene_cache import SceneCache, SceneSize
from nas.data.sets.street import Street
from nas.models.network import Network
from nas.models.person_finder import PersonFinder
from nas.tasks.person_search.found import find
from nas.tasks.person_search.settings import SearchEvaluation
from nas.training.machine import Machine
from nas.training.stage import Stage
from search_spaces.resnet import ResNet
from students.person_search import Found, PersonSearch

SIZE = SceneSize(short_side=70, long_side=110)


def saved(folder, dim=8):
    torch.manual_seed(0)
    space = PersonSearch(
        backbone=ResNet(width=1 / 16), embedding_dim=dim, num_ids=3, found=Found(score=0.0, overlap=0.5, most=4)
    )
    Network(space.student().eval(), space, None, (1, 2, 3)).save(folder / "student.safetensors")
    images = {"short_side": SIZE.short_side, "long_side": SIZE.long_side}
    config = dict.fromkeys(("data", "space", "student", "strategy")) | {"images": images}
    (folder / "config.json").write_text(json.dumps({"format": 2, "recipe": "none", "config": config}))
    return folder / "student.safetensors"


def test_it_finds_what_the_evaluation_finds(tmp_path):
    finder = PersonFinder.open(saved(tmp_path))
    data = Street.small().load()
    cache = SceneCache(data.test, SIZE)
    how, stage = SearchEvaluation(batch_size=1), Stage(tmp_path, "evaluate", "", Machine(device="cpu"))
    expected = find(finder.net, cache, data.queries, stage, how)
    assert len(expected.scores)
    for frame in range(3):
        mine = expected.frames == frame
        found = finder.find(data.test.images.read(frame))
        boxes = np.array([person.box for person in found])
        boxes[:, 2:] += boxes[:, :2]
        assert np.allclose(boxes, expected.boxes[mine], atol=1e-3)
        assert np.allclose([person.score for person in found], expected.scores[mine], atol=1e-5)
        features = torch.stack([person.feature for person in found])
        assert torch.allclose(features, expected.features[torch.from_numpy(mine)], atol=1e-5)


def test_a_gallerys_image_is_a_persons_box(tmp_path):
    finder = PersonFinder.open(saved(tmp_path))
    image = Street.small().load().test.images.read(0)
    features = finder([image, np.asarray(image)])
    assert features.shape == (2, 8) and torch.allclose(features.norm(dim=1), torch.ones(2), atol=1e-5)
    assert torch.equal(features[0], features[1])


def test_a_detector_alone_is_refused(tmp_path):
    with pytest.raises(ValueError, match="only detects persons, it cannot tell them apart"):
        PersonFinder.open(saved(tmp_path, dim=None))


def test_the_size_of_frames_must_be_known(tmp_path):
    path = saved(tmp_path)
    (tmp_path / "config.json").unlink()
    with pytest.raises(ValueError, match="is not a run: it has no config.json"):
        PersonFinder.open(path)
