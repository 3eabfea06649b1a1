"""KSL (Wang et al., ACM MM 2021): small networks from scratch, trained with branches that agree and are gone at inference.

Rank-1 / mAP on Market-1501 (Tables 1 and 3): MobileNetV2 87.0 / 69.5, with KSL 91.8 / 80.3; with ImageNet weights
90.0 / 76.4 and 91.9 / 80.5. Another data set by `--on`: DukeMTMC-reID 75.2 / 55.8 and 80.5 / 66.4, CUHK03 detected
46.5 / 46.0 and 64.9 / 62.4, MSMT17 50.9 / 27.0 and 57.4 / 36.5. Figure 6 mistakes labels: `--data.label-noise 0.1` to 0.5.

The paper trained 350 epochs on one V100 and gives no time. It does not name the augmentation (here flip, crop and random
erasing, of which it speaks) or the sampler's images of an identity (here 4 of 16). CMSNet, of Tables 4 to 6, is not public.
"""

from dataclasses import replace
from pathlib import Path

from nas.data.augment import Augment
from nas.data.market1501 import Market1501
from nas.data.sampling import Switched
from nas.ksl_objective import KSLLoss
from nas.losses import KDLoss
from nas.optimisers import SGD, CosineRate
from nas.recipe import Images, Recipe, Training
from runs.recipes.fast_reid import fast_reid
from search_spaces.mobilenet_v2 import MobileNetV2
from students.ksl import KSL
from students.reid import ReID

AUX = KSLLoss(pp=0, pa=0, ep=0, ea=0, h=0)
"""Branches that do not listen to each other; the ablations add to it."""


def ksl_mobilenet() -> Recipe:
    """KSL, Table 1: MobileNetV2 from scratch with branches before bottlenecks 4 and 6. Expected 91.8 / 80.3."""
    return _recipe(KSL(main=ReID(backbone=MobileNetV2()), branches=("stage4", "stage6")))


def ksl_mobilenet_baseline() -> Recipe:
    """KSL, Table 1: MobileNetV2 from scratch and alone, trained the same way. Expected 87.0 / 69.5."""
    return _recipe(ReID(backbone=MobileNetV2()))


def ksl_mobilenet_aux() -> Recipe:
    """KSL's ablation: MobileNetV2 with branches that do not have to agree. Table 4 has CMSNet's on CUHK03."""
    return replace(ksl_mobilenet(), loss=AUX)


def ksl_mobilenet_pretrained() -> Recipe:
    """KSL, Table 3: MobileNetV2 and its branches from ImageNet weights. Expected 91.9 / 80.5."""
    return _pretrained(ksl_mobilenet())


def ksl_mobilenet_baseline_pretrained() -> Recipe:
    """KSL, Table 3: MobileNetV2 from ImageNet weights and alone. Expected 90.0 / 76.4."""
    return _pretrained(ksl_mobilenet_baseline())


def ksl_mobilenet_taught() -> Recipe:
    """MobileNetV2 with KSL from scratch, all branches of which also hear fast re-ID's ResNet-50. In no paper."""
    return replace(ksl_mobilenet(), teacher=fast_reid().teacher, loss=KSLLoss(each=KDLoss()))


def _recipe(space: KSL | ReID) -> Recipe:
    """Section 4.2: the triplet losses and the identity sampler join at epoch 150."""
    training = Training(epochs=350, sampling=Switched(at=150), augment=Augment(erase=0.5),
                        optimiser=SGD(lr=0.0015, rate=CosineRate(final=0.0)))
    return Recipe(data=Market1501(root=Path("data")), images=Images(height=256, width=128), space=space, student=None,
                  teacher=None, strategy=None, loss=KSLLoss(triplet_from=150), retrain=training)


def _pretrained(recipe: Recipe) -> Recipe:
    return replace(recipe, retrain=replace(recipe.retrain, pretrained="imagenet"))
