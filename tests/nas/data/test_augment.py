"""Augmenting a batch is augmenting each image."""

import pytest
import torch
from torch import Tensor

from nas.data.augment import Augment, Sampled, augmented, normalise


def naive(image: Tensor, drawn: list[int], padding: int) -> Tensor:
    flip, crop_top, crop_left, top, bottom, left, right = drawn
    _, height, width = image.shape
    padded = torch.zeros(3, height + 2 * padding, width + 2 * padding)
    padded[:, padding : padding + height, padding : padding + width] = image
    image = padded[:, crop_top : crop_top + height, crop_left : crop_left + width]
    image = image.flip(2) if flip else image
    mean, std = torch.tensor([[0.485, 0.456, 0.406], [0.229, 0.224, 0.225]])[..., None, None]
    image = (image / 255 - mean) / std
    image[:, top:bottom, left:right] = 0
    return image


class TestAugment:
    images = torch.randint(0, 256, (64, 3, 40, 20), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))

    def generator(self) -> torch.Generator:
        return torch.Generator().manual_seed(3)

    @pytest.mark.parametrize("augment", [Augment(), Augment(crop_padding=0, erase=1.0), Augment(flip=1, erase=0.5)])
    def test_equals_a_loop_over_the_images(self, augment: Augment):
        drawn = torch.stack(augment.sample(64, 40, 20, self.generator())).T.tolist()
        expected = [naive(image, one, augment.crop_padding) for image, one in zip(self.images, drawn, strict=True)]
        torch.testing.assert_close(augment(self.images, self.generator()), torch.stack(expected), atol=1e-5, rtol=1e-5)

    def test_nothing_to_do_is_normalising(self):
        augment = Augment(flip=0, crop_padding=0)
        torch.testing.assert_close(augment(self.images, self.generator()), normalise(self.images))

    def test_normalised_mean_is_zero(self):
        mean = torch.tensor([0.485, 0.456, 0.406]).mul(255).round().to(torch.uint8).view(1, 3, 1, 1)
        assert normalise(mean).abs().max() < 0.01 and normalise(mean).dtype == torch.float32

    def test_erased_rectangles_keep_to_area_and_aspect(self):
        drawn = Augment(erase=1.0).sample(4000, 128, 64, self.generator())
        tall, wide = (drawn.bottom - drawn.top).float(), (drawn.right - drawn.left).float()
        area, aspect = tall * wide / (128 * 64), tall / wide
        assert 0.018 < area.min() < 0.03 and 0.3 < area.max() < 0.42
        assert 0.28 < aspect.min() < 0.4 and 2.5 < aspect.max() < 3.6
        assert (drawn.top >= 0).all() and (drawn.bottom <= 128).all() and (drawn.right <= 64).all()

    def test_probabilities_are_kept(self):
        drawn = Augment(flip=0.3, erase=0.2).sample(10_000, 128, 64, self.generator())
        assert abs(drawn.flip.float().mean() - 0.3) < 0.02 and abs((drawn.bottom > 0).float().mean() - 0.2) < 0.02
        assert set(drawn.crop_top.tolist()) == set(range(21))

    def test_tiny_images_are_augmented_too(self):
        assert Augment(erase=1.0)(self.images[:, :, :1, :1], self.generator()).shape == (64, 3, 1, 1)

    def test_input_is_left_alone(self):
        before = self.images.clone()
        augmented(self.images, Sampled(*torch.ones(7, 64, dtype=torch.int64)), 10)
        assert torch.equal(self.images, before)
