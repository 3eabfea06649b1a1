"""A backbone in two: the stages that make a map of a scene, and those that look at regions of it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import partial
from typing import NamedTuple, cast

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from search_spaces.ops import kaiming
from search_spaces.pick import Pick
from search_spaces.relaxed import runnable
from search_spaces.space import SearchSpace, Staged

PROBED = 256
"""Side of the image that shows a backbone's channels and strides, in pixels."""


class Cut(NamedTuple):
    """Where a backbone is cut, by the names of its maps. `head` is empty where it has no stages: nothing is cut off."""

    base: tuple[str, ...]
    head: tuple[str, ...]
    widths: tuple[int, ...]
    """Channels of each map of `base`."""
    stride: int
    """Pixels of the image for a pixel of the last map of `base`."""

    @property
    def channels(self) -> int:
        """Of the last map of `base`."""
        return self.widths[-1]


def cut(space: SearchSpace, pick: Pick, c_in: int, stride: int, head_from: str | None, region: tuple[int, int]) -> Cut:
    """Cuts the backbones of `space` before `head_from`, or before the first stage with a stride above `stride`.

    The last stage is always the head's, which gets maps of `region` pixels. Found by a forward pass on the meta device.
    Raises ValueError, naming what there is, where a backbone cannot be cut so.
    """
    with torch.device("meta"):
        backbone = space.build(runnable(pick).within("backbone"), c_in).eval()
        maps = maps_of(backbone, torch.empty(1, c_in, PROBED, PROBED))
    shapes = {name: one.shape for name, one in maps.items()}
    strides = {name: PROBED // shape[3] for name, shape in shapes.items()}
    names = list(shapes)
    listed = ", ".join(f"{name} (stride {strides[name]})" for name in names)
    if not isinstance(backbone, Staged):
        if head_from is not None:
            raise ValueError(f"{space.title} has no stages to begin the head from: leave head_from out")
        if strides["map"] > stride:
            raise ValueError(
                f"the map that regions are cut from must have a stride of at most {stride}, and that of "
                f"{space.title} has {strides['map']}: take fewer reductions, or a larger stride"
            )
        return Cut(("map",), (), (shapes["map"][1],), strides["map"])
    if head_from is None:
        place = next((at for at, name in enumerate(names) if strides[name] > stride), len(names) - 1)
    else:
        place = names.index(head_from) if head_from in names else 0
    if not place:
        what = f"begin the head from {head_from}" if head_from else f"make a map of stride {stride} or less"
        raise ValueError(
            f"{space.title} cannot {what}: the head takes some of its last stages, and the first ones make the map; "
            f"it has {listed}"
        )
    before, stages = names[place - 1], backbone.stages()
    _check_region({name: stages[name] for name in names[place:]}, shapes[before][1], region)
    widths = tuple(shapes[name][1] for name in names[:place])
    return Cut(tuple(names[:place]), tuple(names[place:]), widths, strides[before])


def _check_region(stages: Mapping[str, Iterable[nn.Module]], channels: int, region: tuple[int, int]) -> None:
    """Raises ValueError when a region's map of `region` pixels is too small for the `stages` of the head."""
    x = torch.empty(1, channels, *region, device="meta")
    for name, stage in stages.items():
        try:
            x = passed(stage, x)
        except RuntimeError as error:  # as torch's pools say that nothing is left
            raise ValueError(
                f"a region's map of {region[0]}x{region[1]} pixels is too small for the head, stages "
                f"{', '.join(stages)}: enlarge rois.size ({name}: {error})"
            ) from None


def maps_of(backbone: nn.Module, x: Tensor, names: Iterable[str] = ()) -> dict[str, Tensor]:
    """A backbone's maps by name, in their order: of its first stages, `names`, or of all; without stages `map`."""
    maps = {}
    for name, make in makers_of(backbone, names):
        maps[name] = x = make(x)
    return maps


def makers_of(backbone: nn.Module, names: Iterable[str] = ()) -> Iterator[tuple[str, Callable[[Tensor], Tensor]]]:
    """By name and in their order what makes each map of `maps_of` from the one before, the first from the images."""
    if not isinstance(backbone, Staged):
        yield "map", lambda x: backbone(x)["map"]
        return
    stages = backbone.stages()
    for name in names or stages:
        yield name, partial(passed, stages[name])


def passed(stage: Iterable[nn.Module], x: Tensor) -> Tensor:
    """`x` behind the modules of a stage."""
    for module in stage:
        x = module(x)
    return x


class ConvHead(nn.Sequential):
    """Two 3x3 convolutions, the first of stride 2: the head for a backbone that has no stages to give one."""

    def __init__(self, c_in: int, c_out: int) -> None:
        layers: list[nn.Module] = []
        for channels, stride in ((c_in, 2), (c_out, 1)):
            layers += [nn.Conv2d(channels, c_out, 3, stride, 1, bias=False), nn.BatchNorm2d(c_out), nn.ReLU()]
        super().__init__(*layers)
        self.out_channels = c_out
        kaiming(self)


def norms_of(net: nn.Module) -> Iterator[_BatchNorm]:
    """All of its BatchNorms."""
    return (module for module in net.modules() if isinstance(module, _BatchNorm))


def make_constant(norm: _BatchNorm) -> None:
    """Makes a BatchNorm's scale and shift buffers of the same names: they are loaded and saved, not trained."""
    for name in ("weight", "bias"):
        value = cast(Tensor | None, getattr(norm, name))
        if value is not None:
            delattr(norm, name)
            norm.register_buffer(name, value.detach())
