"""Two published students sized for a processor: alone, distilled, with KSL, with both; one of their spaces searched.

Made for 400 identities of Market-1501's training part at their own size, 128x64, and the small ablation's ResNet-50
teacher (`nas teach small_kdas`, then `--teacher.weights`). The arms of a student have the same batches, steps and
seeds. What came out stands in `runs/RESULTS.md`.
"""

from dataclasses import replace

from nas.data.sampling import ClassBalanced
from nas.losses.kd import KDLoss
from nas.losses.ksl import KSLLoss
from nas.recipe import Recipe
from nas.strategies.darts import DARTS
from nas.strategies.settings import Search
from nas.training.optimisers import SGD, Adam, CosineLR
from nas.training.settings import Training
from runs.recipes.small import AUGMENT, small_kdas
from search_spaces.mobilenet_v2 import MobileNetV2
from search_spaces.shallow_cnn import ShallowCNN
from students.ksl import KSL
from students.reid import ReID

MOBILENET = ReID(backbone=MobileNetV2(), embedding_dim=256)
SHALLOW = ReID(backbone=ShallowCNN(), embedding_dim=256)


def small_pretrained_mobilenet() -> Recipe:
    """MobileNetV2 from ImageNet weights, alone."""
    return replace(small_pretrained_mobilenet_taught(), teacher=None)


def small_pretrained_mobilenet_taught() -> Recipe:
    """MobileNetV2 from ImageNet weights, distilled as in fast re-ID, T = 5 and alpha = 0.1."""
    return _by_hand(MOBILENET, steps=80, lr=1e-3, pretrained="imagenet")


def small_pretrained_mobilenet_ksl() -> Recipe:
    """MobileNetV2 from ImageNet weights, with KSL's branches before bottlenecks 4 and 6."""
    return replace(small_pretrained_mobilenet_both(), teacher=None)


def small_pretrained_mobilenet_both() -> Recipe:
    """MobileNetV2 from ImageNet weights, with KSL's branches, each of which hears the teacher."""
    return _with_branches(small_pretrained_mobilenet_taught(), MOBILENET, "stage4", "stage6")


def small_shallow_cnn() -> Recipe:
    """VRKD's shallow CNN from scratch, alone."""
    return replace(small_shallow_cnn_taught(), teacher=None)


def small_shallow_cnn_taught() -> Recipe:
    """VRKD's shallow CNN from scratch, distilled as in fast re-ID, T = 5 and alpha = 0.1."""
    return _by_hand(SHALLOW, steps=150, lr=1.5e-3)


def small_shallow_cnn_ksl() -> Recipe:
    """VRKD's shallow CNN from scratch, with branches before its third and fourth layer."""
    return replace(small_shallow_cnn_both(), teacher=None)


def small_shallow_cnn_both() -> Recipe:
    """VRKD's shallow CNN from scratch, with branches, each of which hears the teacher."""
    return _with_branches(small_shallow_cnn_taught(), SHALLOW, "layer3", "layer4")


def small_shallow_cnn_searched() -> Recipe:
    """The shallow CNN's kernels, depth and pools searched at a quarter of its width, then trained as the taught arm."""
    taught = small_shallow_cnn_taught()
    return replace(
        taught,
        space=replace(SHALLOW, backbone=ShallowCNN(widths=(0.25,))),
        student=SHALLOW,
        strategy=DARTS(epochs=6, weights=SGD(lr=0.05, rate=CosineLR())),
        search=Search(augment=AUGMENT, sampling=ClassBalanced(num_ids=8, images_per_id=2, num_batches=50)),
    )


def _by_hand(student: ReID, steps: int, lr: float, pretrained: str = "") -> Recipe:
    """Four epochs of `steps` batches, 8 identities x 4 images."""
    training = Training(
        epochs=4,
        augment=AUGMENT,
        pretrained=pretrained,
        sampling=ClassBalanced(num_ids=8, images_per_id=4, num_batches=steps),
        optimiser=Adam(lr=lr, rate=CosineLR(warmup_epochs=1)),
    )
    return replace(small_kdas(), strategy=None, space=student, student=None, loss=KDLoss(), retrain=training)


def _with_branches(recipe: Recipe, student: ReID, *branches: str) -> Recipe:
    """Of KSL's parts those on probabilities. At the paper's weights the others, on embeddings, shrink these in a
    training as short as this."""
    return replace(
        recipe,
        space=KSL(main=student, branches=branches),
        loss=KSLLoss(each=KDLoss(), ep=0.0, ea=0.0, h=0.0, triplet_from=0),
    )
