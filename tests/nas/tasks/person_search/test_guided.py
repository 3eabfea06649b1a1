"""A query-guided network through the stages: what it is trained on, how it is measured and goes on, whom it teaches."""

import json
import logging
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from nas.cli.find_recipe import recipe_named
from nas.cli.main import main
from nas.data.sampling import QueryPairs
from nas.data.scene_cache import SceneCache
from nas.data.scenes import SearchQueries
from nas.models.person_finder import PersonFinder
from nas.recipe import Recipe
from nas.system.weights import load_state
from nas.tasks.person_search import guided
from nas.tasks.person_search.feed import scenes_of
from nas.tasks.person_search.guided import FoundByQuery, find_by
from nas.tasks.person_search.settings import SearchEvaluation
from nas.training.machine import Machine
from nas.training.stage import Stage
from runs.recipes.person_search import toy_street
from students.scenes import QueryFrames

RECIPES = """
from dataclasses import replace
from nas.data.sampling import QueryPairs
from nas.losses.oim import OIMLoss
from nas.losses.query_guided import QueryGuidedLoss
from nas.recipe import Recipe, TeacherRecipe
from runs.recipes.person_search import toy_street
from students.query_guided import QueryGuided

def guided() -> Recipe:
    '''A query-guided student that learns the table of OIM.'''
    recipe = toy_street()
    space = QueryGuided(**{**vars(recipe.space), "found": replace(recipe.space.found, score=0.2)}, reduction=2)
    return replace(
        recipe,
        space=space,
        loss=QueryGuidedLoss(each=OIMLoss(weight=0.1, fixed_table=True)),
        retrain=replace(recipe.retrain, sampling=QueryPairs(batch_size=4, pairs_per_id=3), validate_every=0),
        evaluation=replace(recipe.evaluation, min_score=0.2, num_strips=2),
    )

def taught() -> Recipe:
    '''OIM that learns the table of a query-guided network.'''
    recipe = guided()
    alone = replace(recipe.loss, each=OIMLoss())
    teacher = TeacherRecipe(net=recipe.space, loss=alone, training=replace(recipe.retrain, epochs=2))
    return replace(toy_street(), teacher=teacher, baseline=None, evaluation=recipe.evaluation)
"""


def recipe_of(name: str) -> Recipe:
    names: dict = {}
    exec(RECIPES, names)
    return names[name]()


RECIPE = recipe_of("guided")
DATA = RECIPE.data.load()


@pytest.fixture
def nas(tmp_path, monkeypatch, capsys):
    """A command, as JSON where it ends well, else what it says on standard error."""
    (tmp_path / "own.py").write_text(RECIPES)
    monkeypatch.chdir(tmp_path)

    def run(words: str, status: int = 0):
        assert main([*words.split(), "--json", *["--machine.device", "cpu"] * (status == 0)]) == status
        out, err = capsys.readouterr()
        return json.loads(out) if status == 0 else err

    return run


@pytest.fixture(scope="module")
def cache() -> SceneCache:
    return SceneCache(DATA.test, RECIPE.images)


@pytest.fixture(scope="module")
def net() -> torch.nn.Module:
    """One that nobody trained, whom nearly every region is a person to."""
    torch.manual_seed(0)
    space = replace(RECIPE.space, found=replace(RECIPE.space.found, score=0.01))
    return space.with_ids(4).student().eval()


def stage_in(folder: Path, minutes: float = 0.0, **machine) -> Stage:
    return Stage(folder, "evaluate", "", Machine(device="cpu", checkpoint_minutes=minutes, **machine), quiet=True)


def some(number: int) -> SearchQueries:
    queries = DATA.queries
    return SearchQueries(frames=queries.frames[:number], boxes=queries.boxes[:number], ids=queries.ids[:number])


def assert_same(one: FoundByQuery, other: FoundByQuery) -> None:
    for name, array in vars(one).items():
        assert np.array_equal(array, getattr(other, name)), name


class Killed(Exception):
    """What ends a search in its middle."""


@pytest.fixture
def kill_at(monkeypatch):
    """Lets a search end when it prepares frames for that time."""

    def set_up(times: int | None) -> None:
        left: Iterator[int] = iter(range(times if times is not None else 10**9))

        def counted(*arguments, **named):
            if next(left, None) is None:
                raise Killed
            return scenes_of(*arguments, **named)

        monkeypatch.setattr(guided, "scenes_of", counted)

    return set_up


class TestFinding:
    def test_each_query_is_looked_for_in_each_frame_of_its_gallery(self, net, cache, tmp_path):
        queries, how = some(3), SearchEvaluation(min_score=0.01, batch_size=4)
        galleries = tuple(queries.gallery(query, len(cache))[query:] for query in range(3))
        found = find_by(net, cache, replace(queries, galleries=galleries), stage_in(tmp_path), how)
        for query, gallery in enumerate(galleries):
            own = found.queries == query
            assert set(found.frames[own].tolist()) == set(gallery.tolist())
            frame = int(gallery[-1])
            scenes = scenes_of([cache.get(frame)], [np.empty((0, 4))], [np.empty(0)])
            box = torch.tensor(queries.boxes[query] * cache.ratio(int(queries.frames[query])), dtype=torch.float32)
            asked = scenes_of([cache.get(int(queries.frames[query]))], [box[None].numpy()], [np.array([-1])])
            with torch.no_grad():
                said = net(scenes._replace(query=QueryFrames(asked.tensors, asked.boxes[0], asked.labels[0])))
            here = own & (found.frames == frame)
            np.testing.assert_allclose(found.similar[here], said.similarities[0].numpy(), rtol=1e-4)
            boxes = said.detections[0].boxes.double().numpy() / cache.ratio(frame)
            np.testing.assert_allclose(found.boxes[here], boxes, atol=1e-3)
        result = found.search(cache, replace(queries, galleries=galleries), how, num_best=2)
        for query, best in enumerate(result.best):
            assert (found.queries[best[best >= 0]] == query).all()
            similar = found.similarities(query, best[best >= 0])
            assert (
                similar == sorted(similar, reverse=True) and similar[0] == found.similar[found.queries == query].max()
            )

    def test_frames_of_the_querys_camera_are_not_looked_at_where_they_do_not_count(self, net, cache, tmp_path):
        how = SearchEvaluation(same_camera="remove", min_score=0.01)
        found = find_by(net, cache, some(2), stage_in(tmp_path), how)
        cameras = cache.split.cameras
        assert len(found.frames) and (cameras[found.frames] != cameras[some(2).frames[found.queries]]).all()
        assert not (tmp_path / "evaluate.ckpt").exists(), "a search that plays no part is not kept"

    def test_queries_with_nothing_to_look_in_are_refused(self, net, cache, tmp_path):
        nowhere = replace(some(2), galleries=(np.arange(0),) * 2)
        with pytest.raises(ValueError, match="no query has a frame to be looked for in: check the galleries"):
            find_by(net, cache, nowhere, stage_in(tmp_path), SearchEvaluation(), "student")

    @pytest.mark.parametrize("times", [1, 2, 7, 11])
    def test_a_search_that_is_killed_goes_on_to_the_bit(self, times, net, cache, tmp_path, kill_at):
        queries, how = some(2), SearchEvaluation(min_score=0.01)
        whole = find_by(net, cache, queries, stage_in(tmp_path / "whole"), how, "student")
        kill_at(times)
        with pytest.raises(Killed):
            find_by(net, cache, queries, stage_in(tmp_path), how, "student")
        kill_at(13 - times)  # the two queries' own frames and ten others, and a query again
        assert_same(find_by(net, cache, queries, stage_in(tmp_path), how, "student"), whole)
        kill_at(0)
        assert_same(find_by(net, cache, queries, stage_in(tmp_path), how, "student"), whole)

    def test_what_another_network_protocol_or_role_has_found_is_left_aside(self, net, cache, tmp_path, kill_at, capsys):
        queries, how = some(2), SearchEvaluation(min_score=0.01)
        kill_at(8)
        with pytest.raises(Killed):
            find_by(net, cache, queries, stage_in(tmp_path), how, "student")
        kill_at(None)
        torch.manual_seed(1)
        other = RECIPE.space.with_ids(4).student().eval()
        held = (tmp_path / "evaluate.ckpt").read_bytes()
        for one, asked, protocol in (
            (other, queries, how),
            (net, some(1), how),
            (net, queries, replace(how, same_camera="remove")),
        ):
            capsys.readouterr()
            (tmp_path / "evaluate.ckpt").write_bytes(held)
            found = find_by(one, cache, asked, stage_in(tmp_path), protocol, "student")
            assert "is of another search, which begins anew" in capsys.readouterr().err
            assert_same(found, find_by(one, cache, asked, stage_in(tmp_path / "new"), protocol))
        (tmp_path / "evaluate.ckpt").write_bytes(held)
        find_by(other, cache, queries, stage_in(tmp_path), how, "teacher")
        parts = load_state(tmp_path / "evaluate.ckpt")["parts"]
        assert parts.keys() == {"student", "teacher"} and parts["student"]["num_steps"] < parts["teacher"]["num_steps"]

    def test_what_it_costs_is_said_before_and_how_far_it_is(self, net, cache, tmp_path, kill_at, capsys):
        kill_at(0)
        with pytest.raises(Killed):
            find_by(net, cache, some(3), stage_in(tmp_path), SearchEvaluation(), "student")
        assert "student: 15 pairs of a query and a frame, " in capsys.readouterr().err
        kill_at(4)
        with pytest.raises(Killed):
            find_by(net, cache, some(3), stage_in(tmp_path), SearchEvaluation(), "student")
        assert "student: 3 of 15 pairs, 0:" in capsys.readouterr().err
        kill_at(None)
        find_by(net, cache, some(3), stage_in(tmp_path, minutes=9), SearchEvaluation(), "student")
        said = capsys.readouterr().err
        assert "15 pairs of a query and a frame, 3 of them done, " in said and "left" not in said


@pytest.mark.medium
def test_it_learns_a_table_and_is_measured_by_search_alone(nas, caplog):
    said = nas("run own.py:guided --out run")
    _, baseline, student = said["metrics"]["rows"]
    assert "mAP" in student and "detection_AP" not in student and "detection_AP" in baseline
    assert student["multiply_adds"] > baseline["multiply_adds"] and student["ms_per_image_1"] > 0
    tables = [load_file(f"run/{name}.safetensors")["identities.table"] for name in ("teacher", "student")]
    assert torch.equal(*tables)
    for line in Path("run/retrain.history.jsonl").read_text().splitlines():
        assert {"query_rpn", "similarity", "oim"} <= json.loads(line)["loss"].keys()
    assert "similarity" not in json.loads(Path("run/baseline.history.jsonl").read_text().splitlines()[0])["loss"]
    assert Path("run/queries/student.csv").exists() and Path("run/strips/01.png").exists()
    assert not Path("run/sheets").exists() and not Path("run/evaluate.ckpt").exists()
    assert len(load_file("run/features/student.safetensors")["similar"]) > 0
    caplog.set_level(logging.ERROR)
    with pytest.raises(ValueError, match="needs a query beside each frame: take a network that needs none"):
        PersonFinder.open(Path("run/student.safetensors"))
    assert main(["export", "run", "--out", "x.onnx"]) == 2 and not Path("x.onnx").exists()


@pytest.mark.medium
def test_its_table_teaches_oim(nas):
    said = nas("run own.py:taught --out run")
    assert [row["role"] for row in said["metrics"]["rows"]] == ["teacher", "student"]
    weights = [load_file(f"run/{name}.safetensors") for name in ("teacher", "student")]
    assert torch.equal(*(each["identities.table"] for each in weights))
    assert weights[1]["identities.fixed"] and not weights[0]["identities.fixed"]
    again = nas("run own.py:guided --out again --teacher run --baseline None")
    assert torch.equal(load_file("again/student.safetensors")["identities.table"], weights[0]["identities.table"])
    assert [row["role"] for row in again["metrics"]["rows"]] == ["teacher", "student"]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            lambda recipe: replace(recipe, retrain=toy_street().retrain),
            r"the student \(query-guided .* is trained on pairs of frames .*QueryPairs\(...\), not Shuffled",
        ),
        (
            lambda recipe: replace(recipe, loss=recipe.loss.each),
            "query-guided .* needs a loss that trains what guides it: --loss qeeps",
        ),
        (
            lambda recipe: replace(
                recipe, retrain=replace(recipe.retrain, sampling=replace(recipe.retrain.sampling, batch_size=13))
            ),
            "a batch has 13 pairs of frames with the same person, but an epoch of Street has only 12, 3 of each",
        ),
    ],
)
def test_what_does_not_fit_is_refused_before_any_work(change, message):
    with pytest.raises(ValueError, match=message):
        change(RECIPE).load()


@pytest.mark.medium
@pytest.mark.parametrize(
    ("words", "said"),
    [
        ("run own.py:guided --teacher None", "takes a teacher's identity table, and the recipe has no teacher"),
        ("run own.py:guided --space.embedding-dim None", "embedding-dim must be a number"),
    ],
)
def test_what_does_not_fit_is_one_line(words, said, nas):
    assert said in nas(f"{words} --out run", status=2)


def test_crops_are_not_paired():
    recipe = recipe_named("toy")[1]
    with pytest.raises(ValueError, match="QueryPairs pairs frames of person search, and .* has crops"):
        replace(recipe, retrain=replace(recipe.retrain, sampling=QueryPairs())).load()
