"""Re-identification: crops of people or vehicles, of which queries are looked for in a gallery."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, cast

import numpy as np
import torch
from torch import Tensor, nn

from nas.data import splits
from nas.data.base import ReIDData, Split
from nas.data.batches import Batch, Batches
from nas.data.cache import Cache, CachePart, ImageCache
from nas.data.images import Images
from nas.data.sampling import QueryPairs
from nas.data.sets.held_out import HeldOut, findable, queries_of
from nas.data.sets.pedestrians import Pedestrians
from nas.data.sets.vehicles import Vehicles
from nas.data.source import DataSource
from nas.models.network import FeatureNet, Network
from nas.tasks.base import EvaluatedNetwork, Feeding, R, Retrieved, TaskRecipe
from nas.tasks.reid.feed import cached
from nas.tasks.reid.settings import Evaluation
from nas.training.stage import Stage
from students.space import StudentModule

HALVES = {"image": splits.by_image, "identity": splits.by_identity}
SMALL = {"people": (Pedestrians, 64, 32), "vehicles": (Vehicles, 40, 40)}
"""What is drawn at a toy's size: data set, height and width."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Crops:
    """A part of a data set of crops."""

    images: ImageCache | None = None
    """To draw batches from."""
    indices: np.ndarray | None = None
    """The images of the part, int64 `[N]`; None: all."""
    query: Cache | None = None
    gallery: Cache | None = None
    problem: str = ""


class ReIDTask:
    """See `nas.tasks.base.Task`."""

    def check(self, recipe: TaskRecipe, data: ReIDData, trainings: Sequence[Feeding]) -> None:
        self.check_evaluation(data, recipe.evaluation)
        feedings = [*trainings, *([recipe.search] if recipe.strategy else [])]
        if any(isinstance(how.sampling, QueryPairs) for how in feedings):
            raise ValueError(
                f"QueryPairs pairs frames of person search, and {data.name} has crops: take ClassBalanced or Shuffled"
            )
        needed = max(how.sampling.num_ids for how in feedings)
        if len(data.identities) < needed:
            raise ValueError(
                f"a batch has {needed} identities, but {data.name} has only {len(data.identities)} to train on: lower "
                "--teacher.training.sampling.num-ids, --search.sampling.num-ids and --retrain.sampling.num-ids, "
                "or use more identities"
            )

    def check_evaluation(self, data: ReIDData, evaluation: Evaluation) -> None:
        if evaluation.activation_maps:
            from nas.tasks.reid.activation import check_activation_maps

            check_activation_maps()
        cameras = data.query.cameras is not None and data.gallery.cameras is not None
        if evaluation.same_camera == "remove" and not cameras:
            raise ValueError(
                f"{data.name} has no cameras, so the query's own camera cannot be taken out of its ranking: "
                "use --keep-same-camera, or give the images cameras"
            )

    def check_teacher(self, teacher: Network, what: str, student: StudentModule, maps: Sequence[str]) -> None:
        """A rehearsal finds it all."""

    def train_part(self, data: ReIDData, recipe: TaskRecipe) -> Crops:
        return Crops(images=cached(data.train, recipe.images), problem="the training part has no queries")

    def test_part(self, data: ReIDData, recipe: TaskRecipe) -> Crops:
        return Crops(query=cached(data.query, recipe.images), gallery=cached(data.gallery, recipe.images))

    def halves(self, data: ReIDData, recipe: TaskRecipe, rng: np.random.Generator) -> tuple[Crops, Crops]:
        """As `recipe.search.split` says. Of the second half's identities that can be found again, at most
        `num_measured_ids` are measured on."""
        images = cached(data.train, recipe.images)
        weights, alphas = HALVES[recipe.search.split](data.train_labels, rng)
        query, gallery = choose_queries(
            data.train, alphas, recipe.search.num_measured_ids, np.random.default_rng(recipe.seed)
        )
        problem = (
            ""
            if len(query)
            else f"{data.name}: no identity of the half that trials are measured on is seen by two cameras "
            "there: take more images, or a strategy that measures nothing, such as darts or gdas"
        )
        return Crops(images=images, indices=weights), Crops(
            images=images,
            indices=alphas,
            query=CachePart(images, query),
            gallery=CachePart(images, gallery),
            problem=problem,
        )

    def batches(self, data: ReIDData, part: Crops, how: Feeding, seed: int, stage: Stage) -> Batches:
        """With the data set's label noise."""
        assert part.images is not None
        fabric = stage.fabric
        torch.backends.cudnn.benchmark = not torch.are_deterministic_algorithms_enabled()  # all batches have one size
        return Batches(
            part.images,
            data.train_labels,
            how.sampling,
            how.augment,
            seed,
            fabric.device,
            indices=part.indices,
            label_noise=data.label_noise,
            rank=fabric.global_rank,
            world_size=fabric.world_size,
        )

    def value(self, net: nn.Module, part: Crops, recipe: TaskRecipe, stage: Stage) -> float:
        from nas.tasks.reid.features import extract

        assert part.query is not None and part.gallery is not None
        how = recipe.evaluation
        return extract(net, part.query, part.gallery, stage, how).evaluate(how).mAP

    def retrieve(self, net: nn.Module, part: Crops, recipe: TaskRecipe, stage: Stage, title: str) -> Retrieved:
        """Of a protocol with repeats the first one."""
        from nas.tasks.reid.features import Features, features_of

        assert part.query is not None and part.gallery is not None
        how = recipe.evaluation
        query, gallery = (features_of(net, cache, stage, how, title) for cache in (part.query, part.gallery))
        found = Features.of(query, gallery, part.query.split, part.gallery.split).evaluate(how, num_nearest=1)
        return Retrieved(torch.cat([query, gallery]), torch.as_tensor(found.nearest[:, 0]), found.mAP, found.rank(1))

    def calibration(self, data: ReIDData, recipe: TaskRecipe, num_images: int) -> Tensor:
        chosen = np.random.default_rng(recipe.seed).permutation(len(data.train))[:num_images]
        return cached(data.train.take(np.sort(chosen)), recipe.images).get(np.arange(len(chosen)))

    def measure(
        self,
        networks: Sequence[EvaluatedNetwork],
        data: ReIDData,
        images: Images,
        evaluation: Evaluation,
        stage: Stage,
        **further: Any,
    ) -> dict[str, Any]:
        from nas.tasks.reid.measure import measure  # which draws, and so imports plots

        return measure(networks, data, images, evaluation, stage, **further)

    def example(self, recipe: TaskRecipe, num_ids: int) -> Batch:
        height, width = recipe.images.height, recipe.images.width
        return Batch(torch.empty(2, 3, height, width), torch.empty(2, dtype=torch.int64))

    def deployed(self, net: nn.Module) -> nn.Module:
        return FeatureNet(net)

    def held_out(self, source: DataSource, share: float, seed: int) -> HeldOut:
        return HeldOut(source=source, share=share, seed=seed)

    def small(self, recipe: R) -> R:
        source = cast(DataSource, recipe.data)
        kind, height, width = SMALL[source.subject]
        data = kind(
            num_train_ids=8,
            num_test_ids=4,
            num_cameras=2,
            images_per_id=6,
            height=height,
            width=width,
            label_noise=source.label_noise,
        )
        return replace(recipe, data=data, images=Images(height=height, width=width))


def choose_queries(
    train: Split, half: np.ndarray, most: int | None, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    """Of the training images in `half` the queries and the gallery, of at most `most` identities."""
    identities = np.sort(rng.permutation(findable(train.take(half)))[:most])
    half = half[np.isin(train.ids[half], identities)]
    queries = queries_of(train.take(half), identities, rng) if len(identities) else np.arange(0)
    return half[queries], np.delete(half, queries)
