"""Random mirroring, shifting and erasing of whole batches, and the normalisation that networks expect."""

from dataclasses import dataclass, replace
from functools import cache as remembered
from typing import Annotated, NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from search_spaces.ranges import Range, Ranged, Share

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)


@remembered
def _mean_and_std(device: torch.device) -> tuple[Tensor, Tensor]:
    mean, std = torch.tensor([IMAGENET_MEAN, IMAGENET_STD]).mul(255).view(2, 3, 1, 1).to(device)
    return mean, std


def normalise(images: Tensor) -> Tensor:
    """uint8 [B, 3, H, W] to float with ImageNet's mean and standard deviation taken out."""
    mean, std = _mean_and_std(images.device)
    return images.float().sub_(mean).div_(std)


class Sampled(NamedTuple):
    """What chance decided for a batch, int64 [B] each: mirrored or not (0, 1), the crop's corner in the padded image,
    and the erased rectangle (rows top .. bottom - 1, columns left .. right - 1; empty when bottom is 0)."""

    flip: Tensor
    crop_top: Tensor
    crop_left: Tensor
    top: Tensor
    bottom: Tensor
    left: Tensor
    right: Tensor


@dataclass(frozen=True, kw_only=True)
class Augment(Ranged):
    """Random mirroring, shifting and erasing of whole batches, the same on every device.

    A rectangle that is erased has 0.02 to 0.4 of the area and an aspect ratio of 0.3 to 3.33. Deviation: the ratio is
    sampled evenly in its logarithm, so that tall and wide are equally likely. The first of ten sampled rectangles that
    fits is taken.
    """

    flip: Share = 0.5
    """Probability that an image is mirrored left to right."""
    crop_padding: Annotated[int, Range(least=0, most=1_024)] = 10
    """Black pixels added on each side before an image is cropped back to its size at a random place; 0: no shifting."""
    erase: Share = 0.0
    """Probability that a random rectangle of an image is filled with the mean (random erasing, Zhong et al. 2020)."""

    @property
    def mirrors_alone(self) -> bool:
        """Whether an image has two views: itself and its mirror image."""
        return self.crop_padding == 0 and self.erase == 0

    def small(self) -> "Augment":
        """The same for small images."""
        return replace(self, crop_padding=4)

    def __call__(self, images: Tensor, generator: torch.Generator, device: torch.device | str = "cpu") -> Tensor:
        """uint8 [B, 3, H, W] on the CPU to normalised float [B, 3, H, W] on `device`. `generator` lives on the CPU."""
        num_images, _, height, width = images.shape
        sampled = self.sample(num_images, height, width, generator)
        return augmented(images, sampled, self.crop_padding, device)

    def sample(self, num_images: int, height: int, width: int, generator: torch.Generator) -> Sampled:
        """What `__call__` applies to a batch of `num_images` images of this size."""
        flip = torch.rand(num_images, generator=generator) < self.flip
        corner = torch.randint(0, 2 * self.crop_padding + 1, (2, num_images), generator=generator)
        rectangle = _rectangles(num_images, height, width, generator)
        erased = torch.rand(num_images, generator=generator) < self.erase
        return Sampled(flip.long(), *corner, *(rectangle * erased))


@dataclass(frozen=True, kw_only=True)
class SceneAugment(Ranged):
    """Random mirroring of frames."""

    flip: Share = 0.5
    """Probability that a frame is mirrored left to right, with its boxes."""

    def small(self) -> "SceneAugment":
        return self


def mirrored(boxes: np.ndarray, width: int) -> np.ndarray:
    """The boxes x1, y1, x2, y2 [N, 4] of the mirror image of one that is `width` wide."""
    x1, y1, x2, y2 = boxes.T
    return np.stack([width - x2, y1, width - x1, y2], axis=1)


def _rectangles(num_images: int, height: int, width: int, generator: torch.Generator) -> Tensor:
    """Rectangles for random erasing, int64 [4, B]: top, bottom, left, right; zeros where none of ten fits."""
    area, log_aspect, down, across = torch.rand(4, num_images, 10, generator=generator)
    area = (0.02 + 0.38 * area) * height * width
    aspect = torch.exp((2 * log_aspect - 1) * np.log(10 / 3))
    tall, wide = (area * aspect).sqrt().round(), (area / aspect).sqrt().round()
    fits = (tall >= 1) & (wide >= 1) & (tall < height) & (wide < width)
    top, left = (down * (height - tall + 1)).floor(), (across * (width - wide + 1)).floor()
    candidates = torch.stack([top, top + tall, left, left + wide]).long() * fits
    first = fits.int().argmax(dim=1).expand(4, num_images)
    return candidates.gather(2, first[..., None]).squeeze(2)


def augmented(images: Tensor, sampled: Sampled, crop_padding: int, device: torch.device | str = "cpu") -> Tensor:
    """`images` uint8 [B, 3, H, W] on the CPU, shifted, mirrored and erased as `sampled` says: normalised float
    [B, 3, H, W] on `device`.

    Image by image, as copying windows is several times faster than gathering a batch from everywhere; before the
    images go to the device, in one transfer of bytes out of pinned memory.
    """
    device = torch.device(device)
    height, width = images.shape[2:]
    moved = torch.empty_like(images, pin_memory=device.type == "cuda")
    places = zip(*(column.tolist() for column in sampled[:3]), strict=True)
    for target, padded, (flip, top, left) in zip(moved, F.pad(images, [crop_padding] * 4), places, strict=True):
        window = padded[:, top : top + height, left : left + width]
        target.copy_(window.flip(2) if flip else window)
    result = normalise(moved.to(device, non_blocking=True))
    if device.type == "cuda":
        return erased(result, Sampled(*torch.stack(sampled).to(device)))
    for image, top, bottom, left, right in zip(result, *(column.tolist() for column in sampled[3:]), strict=True):
        if bottom:
            image[:, top:bottom, left:right] = 0.0
    return result


def gathered(images: Tensor, chosen: Tensor, sampled: Sampled, crop_padding: int) -> Tensor:
    """As `augmented`, of images that lie on a device, where `chosen` int64 [B] and `sampled` lie, too: `images` uint8
    [N, H, W, 3] to normalised float [B, 3, H, W], channels last.

    All images at once, each pixel from its place: what a GPU does well, and nothing waits for a number.
    """
    height, width = images.shape[1:3]
    rows, columns = (torch.arange(size, device=images.device) for size in (height, width))
    seen = torch.where(sampled.flip[:, None] > 0, width - 1 - columns, columns)
    row = rows + (sampled.crop_top - crop_padding)[:, None]
    column = seen + (sampled.crop_left - crop_padding)[:, None]
    there = (row.clamp(0, height - 1), column.clamp(0, width - 1))
    outside = (row != there[0])[:, :, None] | (column != there[1])[:, None]
    pixels = images[chosen[:, None, None], there[0][:, :, None], there[1][:, None]].permute(0, 3, 1, 2)
    return erased(normalise(pixels.masked_fill_(outside[:, None], 0)), sampled)


def erased(images: Tensor, sampled: Sampled) -> Tensor:
    """`images` [B, 3, H, W] with the sampled rectangles filled with the mean, in place, all at once."""
    rows, columns = (torch.arange(size, device=images.device) for size in images.shape[2:])
    in_rows = (rows >= sampled.top[:, None]) & (rows < sampled.bottom[:, None])
    in_columns = (columns >= sampled.left[:, None]) & (columns < sampled.right[:, None])
    return images.masked_fill_((in_rows[:, :, None] & in_columns[:, None])[:, None], 0.0)
