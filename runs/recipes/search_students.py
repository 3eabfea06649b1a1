"""Each published student's space searched under fast re-ID's ResNet-50 teacher, at KDAS-ReID's falling temperature.

The space's published point is the student to beat: `nas run` the recipe with `--strategy None` for it. Nobody has
published such searches; the shallow CNN's and the SDC-CNN's, for vehicles, stand with VRKD's recipes.
"""

from dataclasses import replace
from typing import cast

from nas.losses.kdas import KDASLoss
from nas.losses.ksl import KSLLoss
from nas.recipe import Recipe
from runs.recipes.fast_reid import fast_reid
from runs.recipes.kdas import kdas
from search_spaces.densenet import DenseNet
from search_spaces.mobilenet_v2 import MobileNetV2
from search_spaces.osnet import OSNet
from search_spaces.resnet import ResNet
from search_spaces.shufflenet_v2 import ShuffleNetV2
from search_spaces.space import SearchSpace
from students.ksl import KSL
from students.reid import ReID


def search_mobilenet() -> Recipe:
    """MobileNetV2's space (kernels, expansions, skips), from ImageNet weights as far as they fit what is found."""
    return _pretrained(_searched(MobileNetV2()))


def search_resnet() -> Recipe:
    """ResNet-18's space (basic, bottleneck or separable blocks, kernels, skips)."""
    return _pretrained(_searched(ResNet(depth=18)))


def search_densenet() -> Recipe:
    """DenseNet-121's space (kinds of layers, kernels, skips)."""
    return _pretrained(_searched(DenseNet()))


def search_shufflenet() -> Recipe:
    """ShuffleNetV2's space (kernels, channel splits, skips)."""
    return _pretrained(_searched(ShuffleNetV2()))


def search_osnet() -> Recipe:
    """OSNet's space (streams, gates, instance normalisation), from scratch."""
    return _searched(OSNet())


def search_ksl() -> Recipe:
    """MobileNetV2's space with KSL's branches, each of which hears the teacher while it is searched and retrained."""
    recipe = search_mobilenet()
    branched = KSL(main=cast(ReID, recipe.space), branches=("stage4", "stage6"))
    return replace(recipe, space=branched, loss=KSLLoss(each=cast(KDASLoss, recipe.loss), triplet_from=0))


def _searched(backbone: SearchSpace) -> Recipe:
    recipe = kdas()
    return replace(
        fast_reid(),
        space=ReID(backbone=backbone),
        strategy=recipe.strategy,
        search=recipe.search,
        loss=recipe.loss,
        retrain=replace(fast_reid().retrain, pretrained=""),
    )


def _pretrained(recipe: Recipe) -> Recipe:
    return replace(recipe, retrain=replace(recipe.retrain, pretrained="imagenet"))
