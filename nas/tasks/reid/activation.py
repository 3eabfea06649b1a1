"""Where a network looks when it finds two images alike: Grad-CAM (Selvaraju et al., 2017) of their cosine similarity,
by the package grad-cam."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor, nn

from nas.data.augment import normalise
from nas.data.cache import Cache
from nas.metrics.retrieval import Retrieval
from nas.report.thumbnails import FOLDER, MAPS, QUALITY
from nas.system.files import write_json
from nas.tasks.reid.features import Features
from students.reid import ReIDNet


def check_activation_maps() -> None:
    """Raises ValueError where the package is missing: before features are computed."""
    if find_spec("pytorch_grad_cam") is None:
        raise ValueError("activation maps need the package grad-cam: pip install 'nas-reid[explain]'")


def draw_activation_maps(
    folder: Path,
    net: nn.Module,
    caches: tuple[Cache, Cache],
    features: Features,
    result: Retrieval,
    queries: np.ndarray,
) -> None:
    """For each of `queries` pictures of it and of what it found, in their order, with the activation map laid over.

    Writes them into the evaluation's `thumbnails/`, with `maps.json`. The query's own map is of its similarity to the
    first image that it found. `caches`: of queries and gallery. A network that has no backbone and head, as one of an
    ONNX file, is left out with a warning.
    """
    if not isinstance(net, ReIDNet):
        kind = type(net).__name__
        warnings.warn(f"no activation maps were drawn: {kind} has no map before its features", stacklevel=2)
        return
    query, gallery = caches
    listed = {}
    for i in queries.tolist():
        found = result.nearest[i][result.nearest[i] >= 0]
        pixels = torch.cat([query.get(np.array([i])), gallery.get(found)])
        alike = torch.cat([features.gallery[found[:1]], features.query[i].expand(len(found), -1)])
        files = [f"map-{i:06d}-{rank:02d}.jpg" for rank in range(len(pixels))]
        for file, picture in zip(files, activation_maps(net, pixels, alike), strict=True):
            Image.fromarray(picture).save(folder / FOLDER / file, format="JPEG", quality=QUALITY)
        listed[query.split.images.name(i)] = files
    write_json(folder / FOLDER / MAPS, listed)


def activation_maps(net: ReIDNet, pixels: Tensor, alike: Tensor) -> np.ndarray:
    """Images uint8 `[N, 3, H, W]` as `[N, H, W, 3]` with the map of what makes each similar to its `alike` `[N, D]`."""
    from pytorch_grad_cam import GradCAM
    from pytorch_grad_cam.utils.image import show_cam_on_image

    device = next(net.parameters()).device
    with_map = _WithMap(net)
    targets = [_similarity(feature.to(device)) for feature in alike]
    with torch.enable_grad(), GradCAM(model=with_map, target_layers=[with_map.map]) as cam:
        maps = cam(input_tensor=normalise(pixels.to(device)), targets=targets)
    net.zero_grad(set_to_none=True)
    images = pixels.permute(0, 2, 3, 1).numpy().astype(np.float32) / 255
    return np.stack([show_cam_on_image(image, shown, use_rgb=True) for image, shown in zip(images, maps, strict=True)])


class _WithMap(nn.Module):
    """A network as features, with its last map in a module of its own, which the package listens to."""

    def __init__(self, net: ReIDNet) -> None:
        super().__init__()
        self.net, self.map = net, nn.Identity()

    def forward(self, images: Tensor) -> Tensor:
        maps = self.net.backbone(images)
        return self.net.head({**maps, "map": self.map(maps["map"])}).feature


def _similarity(other: Tensor) -> Callable[[Tensor], Tensor]:
    return lambda feature: torch.cosine_similarity(feature, other, dim=0)
