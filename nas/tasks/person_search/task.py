"""Person search: frames with persons in them, of whom queries are looked for in other frames."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from nas.data.augment import SceneAugment, normalise
from nas.data.sampling import QueryPairs, Shuffled, num_query_pairs
from nas.data.scene_cache import SceneCache, SceneSize
from nas.data.scene_splits import HeldOutScenes, by_frame, findable, queries_among
from nas.data.scenes import SceneData, SceneSource, SearchQueries
from nas.data.sets.street import Street
from nas.models.network import Network
from nas.tasks.base import EvaluatedNetwork, Feeding, R, TaskRecipe
from nas.tasks.person_search.deployed import Deployed
from nas.tasks.person_search.feed import SceneBatch, SceneBatches, cached, padded, padded_to
from nas.tasks.person_search.guided import find_by
from nas.tasks.person_search.settings import SearchEvaluation
from nas.tasks.person_search.teacher import check_has_teacher, check_teacher
from nas.training.stage import Stage
from students.scenes import QueryFrames, Scenes
from students.space import StudentModule


@dataclass(frozen=True, kw_only=True, eq=False)
class Frames:
    """A part of a data set of scenes."""

    cache: SceneCache
    queries: SearchQueries | None = None
    """To measure with."""
    problem: str = ""


class PersonSearchTask:
    """See `nas.tasks.base.Task`."""

    further = ("detection_AP",)

    def check(self, recipe: TaskRecipe, data: SceneData, trainings: Sequence[Feeding]) -> None:
        for what, value, kind in (
            ("images", recipe.images, SceneSize),
            ("evaluation", recipe.evaluation, SearchEvaluation),
        ):
            if not isinstance(value, kind):
                raise ValueError(
                    f"{data.name} is for person search, whose recipes have {kind.__name__} as {what}, not "
                    f"{type(value).__name__}: take a recipe of person search, such as street_demo"
                )
        if not data.identities:
            raise ValueError(
                f"{data.name} has no identity to train on: all persons in its training frames are without one (-1)"
            )
        self.check_evaluation(data, recipe.evaluation)
        check_has_teacher(recipe)
        for how in [*trainings, *([recipe.search] if recipe.strategy else [])]:
            if not isinstance(how.sampling, Shuffled | QueryPairs) or not isinstance(how.augment, SceneAugment):
                raise ValueError(
                    "frames are drawn in random order and mirrored: a training for person search needs "
                    "sampling=Shuffled(...), or QueryPairs(...) for a query-guided network, and "
                    f"augment=SceneAugment(...), not {type(how.sampling).__name__} and {type(how.augment).__name__}"
                )
            if isinstance(how.sampling, QueryPairs):
                check_pairs(data, how.sampling)
            elif len(data.train) < how.sampling.batch_size:
                raise ValueError(
                    f"a batch has {how.sampling.batch_size} frames, but {data.name} has only {len(data.train)} to "
                    "train on: lower --teacher.training.sampling.batch-size, --search.sampling.batch-size and "
                    "--retrain.sampling.batch-size, or use more frames"
                )

        for what, space, _, how, _ in recipe.trained():
            if space.needs_query and not isinstance(how.sampling, QueryPairs):
                raise ValueError(
                    f"{what} ({space.title}) is trained on pairs of frames with the same person: it needs "
                    f"sampling=QueryPairs(...), not {type(how.sampling).__name__}"
                )

    def check_evaluation(self, data: SceneData, evaluation: SearchEvaluation) -> None:
        if evaluation.same_camera == "remove" and data.test.cameras is None:
            raise ValueError(
                f"{data.name} has no cameras, so the frames of the query's own camera cannot be left out: "
                "use --evaluation.same-camera keep, or give the frames cameras"
            )

    def check_teacher(self, teacher: Network, what: str, student: StudentModule, maps: Sequence[str]) -> None:
        check_teacher(teacher, what, student, maps)

    def train_part(self, data: SceneData, recipe: TaskRecipe) -> Frames:
        return Frames(cache=cached(data.train, recipe.images), problem="the training part has no queries")

    def test_part(self, data: SceneData, recipe: TaskRecipe) -> Frames:
        return Frames(cache=cached(data.test, recipe.images), queries=data.queries)

    def frames(self, data: SceneData, recipe: TaskRecipe, num_frames: int, size: tuple[int, int]) -> Tensor:
        chosen = np.unique(np.linspace(0, len(data.test) - 1, num_frames).round().astype(int))
        cache = SceneCache(data.test.take(chosen), recipe.images)
        fitting = np.flatnonzero((cache.scaled[:, ::-1] <= size).all(axis=1)).tolist()
        return torch.cat([torch.zeros(0, 3, *size), *(padded(normalise(cache.get(i)[None]), size) for i in fitting)])

    def halves(self, data: SceneData, recipe: TaskRecipe, rng: np.random.Generator) -> tuple[Frames, Frames]:
        """Halves of the frames. Of the identities that are in two frames of the second half, at most
        `num_measured_ids` are looked for there."""
        if recipe.search.split != "image":
            raise ValueError(
                "scenes are halved by frame, as people walk together: leave search.split out, or set it to image"
            )
        cache = cached(data.train, recipe.images)
        weights, alphas = by_frame(len(cache), rng)
        half = cache.take(alphas)
        wanted = np.random.default_rng(recipe.seed).permutation(findable(half.split))[: recipe.search.num_measured_ids]
        queries = queries_among(half.split, np.sort(wanted), np.random.default_rng(recipe.seed))
        problem = (
            ""
            if len(queries)
            else f"{data.name}: nobody is in two frames of the half that trials are measured on: take more frames, or "
            "a strategy that measures nothing, such as darts or gdas"
        )
        return Frames(cache=cache.take(weights)), Frames(cache=half, queries=queries, problem=problem)

    def batches(self, data: SceneData, part: Frames, how: Feeding, seed: int, stage: Stage) -> SceneBatches:
        return SceneBatches(
            part.cache,
            data.identities,
            how.sampling.batch_size,
            how.augment,
            seed,
            stage.fabric.device,
            pairs_per_id=how.sampling.pairs_per_id if isinstance(how.sampling, QueryPairs) else None,
            rank=stage.fabric.global_rank,
            world_size=stage.fabric.world_size,
        )

    def value(self, net: nn.Module, part: Frames, recipe: TaskRecipe, stage: Stage) -> float:
        return self.values(net, part, recipe, stage)["mAP"]

    def values(self, net: nn.Module, part: Frames, recipe: TaskRecipe, stage: Stage) -> dict[str, float]:
        """See `nas.tasks.base.WeighsFurther`. What a detector alone is worth is its detection AP; a query-guided
        network, which detects other persons for each query, has none."""
        assert part.queries is not None
        found = find_by(net, part.cache, part.queries, stage, recipe.evaluation)
        searched = found.search(part.cache, part.queries, recipe.evaluation)
        detection = found.detection(part.cache, recipe.evaluation)
        further = {"detection_AP": detection.ap} if detection else {}
        return {"mAP": searched.mAP if searched else further["detection_AP"], **further}

    def measure(
        self,
        networks: Sequence[EvaluatedNetwork],
        data: SceneData,
        images: SceneSize,
        evaluation: SearchEvaluation,
        stage: Stage,
        **further: Any,
    ) -> dict[str, Any]:
        from nas.tasks.person_search.measure import measure  # which draws, and so imports plots

        return measure(networks, data, images, evaluation, stage, **further)

    def example(self, recipe: TaskRecipe, num_ids: int) -> SceneBatch:
        """Of a frame as wide as it may be, with a person in each, who is also the other one's query."""
        short, long = map(padded_to, (recipe.images.short_side, recipe.images.long_side))
        box, label = torch.tensor([[0.0, 0.0, short / 4, short / 2]]), torch.zeros(1, dtype=torch.int64)
        sizes = torch.tensor([[short, long]] * 2)
        frames = torch.empty(2, 3, short, long)
        query = QueryFrames(frames, box.expand(2, 4), label.expand(2))
        scenes = Scenes(frames, sizes, (box,) * 2, (label,) * 2, query=query)
        return SceneBatch(images=scenes, labels=torch.cat(scenes.labels))

    def deployed(self, net: nn.Module) -> nn.Module:
        return Deployed(net)

    def held_out(self, source: SceneSource, share: float, seed: int) -> HeldOutScenes:
        return HeldOutScenes(source=source, share=share, seed=seed)

    def small(self, recipe: R) -> R:
        return replace(recipe, data=Street.small(), images=SceneSize(short_side=96, long_side=144))


def check_pairs(data: SceneData, how: QueryPairs) -> None:
    """Raises ValueError when an epoch has fewer pairs of frames than a batch."""
    num_pairs = num_query_pairs(data.train.ids, how.pairs_per_id)
    if num_pairs < how.batch_size:
        raise ValueError(
            f"a batch has {how.batch_size} pairs of frames with the same person, but an epoch of {data.name} has only "
            f"{num_pairs}, {how.pairs_per_id} of each identity that is in two training frames: lower batch_size or "
            "raise pairs_per_id of the sampling, or use more frames"
        )
