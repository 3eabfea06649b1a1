"""Retrieval features of a split, and how well they retrieve."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor, nn

from nas.data.batches import ImageCache, normalise
from nas.metrics.retrieval import Retrieval, evaluate_retrieval
from nas.recipe import Evaluation
from nas.stage import Stage


def features(net: nn.Module, cache: ImageCache, stage: Stage, batch_size: int) -> Tensor:
    """The retrieval features `[N, D]` (float32, on the stage's device) of all images, without augmentation."""
    training, parts = net.training, []
    net.eval()
    with torch.inference_mode(), stage.autocast():
        for start in range(0, len(cache), batch_size):
            images = cache.get(np.arange(start, min(start + batch_size, len(cache)))).to(stage.fabric.device)
            parts.append(net(normalise(images)).feature.float())
    net.train(training)
    return torch.cat(parts)


def retrieval(net: nn.Module, query: ImageCache, gallery: ImageCache, stage: Stage,
              how: Evaluation) -> tuple[Retrieval, Tensor, Tensor]:
    """CMC, mAP and mINP of `net`, with the features they were computed from."""
    found = [features(net, cache, stage, how.batch_size) for cache in (query, gallery)]
    splits = query.split, gallery.split
    result = evaluate_retrieval(*found, *(split.ids for split in splits), *(split.cameras for split in splits),
                                distance=how.distance, ap=how.ap, same_camera=how.same_camera)
    return result, *found
