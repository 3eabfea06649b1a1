"""KSL (Wang et al., ACM MM 2021): small networks trained with branches that agree and are gone at inference.

Rank-1 / mAP (Tables 1 and 3), another data set by `--on`:

| network | Market-1501 | DukeMTMC-reID | CUHK03 detected | MSMT17 |
|---|---|---|---|---|
| MobileNetV2 from scratch | 87.0 / 69.5 | 75.2 / 55.8 | 46.5 / 46.0 | 50.9 / 27.0 |
| MobileNetV2 from ImageNet | 90.0 / 76.4 | 80.9 / 65.3 | 64.3 / 60.0 | 57.1 / 36.2 |
| with KSL from scratch | 91.8 / 80.3 | 80.5 / 66.4 | 64.9 / 62.4 | 57.4 / 36.5 |
| with KSL from ImageNet | 91.9 / 80.5 | 84.2 / 66.8 | 66.6 / 62.2 | 60.3 / 38.2 |
| ShuffleNetV2 from scratch | 84.8 / 65.0 | 71.6 / 49.9 | 38.4 / 37.2 | 41.5 / 19.9 |
| ShuffleNetV2 from ImageNet | 88.5 / 73.2 | 79.4 / 61.3 | 54.4 / 51.2 | 56.2 / 34.3 |
| with KSL from scratch | 91.5 / 80.1 | 80.6 / 67.3 | 62.3 / 59.8 | 56.8 / 38.1 |
| with KSL from ImageNet | 92.0 / 81.1 | 83.4 / 68.5 | 72.3 / 68.2 | 61.6 / 39.6 |
| CMSNet from scratch | 94.3 / 84.7 | 86.6 / 74.3 | 61.2 / 58.8 | 70.1 / 47.6 |
| with KSL from scratch | 96.0 / 89.1 | 89.1 / 79.2 | 76.8 / 73.7 | 81.6 / 62.1 |

CMSNet is not public: OSNet, its neighbour, takes its place. From scratch OSNet itself has 93.6 / 81.0 on Market-1501,
84.7 / 68.6 on DukeMTMC-reID, 57.1 / 54.2 on CUHK03 and 71.0 / 43.3 on MSMT17 (Table 2). The ablations (Tables 4 to 6)
are on CUHK03; Figure 6 mistakes labels there, `--data.label-noise 0.1` to 0.5.

The paper trained 350 epochs on a V100 and gives no time. It does not name the augmentation (here flip, crop and random
erasing, of which it speaks) or how many images of an identity the sampler takes (here 4, of 16 identities).
"""

from dataclasses import replace
from pathlib import Path

from nas.data.augment import Augment
from nas.data.images import Images
from nas.data.sampling import Switched
from nas.data.sets.market1501 import Market1501
from nas.losses.kd import KDLoss
from nas.losses.ksl import KSLLoss
from nas.recipe import Recipe
from nas.strategies.darts import DARTS
from nas.training.optimisers import SGD, CosineLR
from nas.training.settings import Training
from runs.recipes.fast_reid import fast_reid
from search_spaces.mobilenet_v2 import MobileNetV2
from search_spaces.osnet import OSNet
from search_spaces.shufflenet_v2 import ShuffleNetV2
from students.ksl import KSL
from students.reid import ReID

AUX = KSLLoss(pp=0, pa=0, ep=0, ea=0, h=0)
"""Branches that do not have to agree."""


def ksl_mobilenet() -> Recipe:
    """KSL, Table 1: MobileNetV2 from scratch with branches before bottlenecks 4 and 6. Expected 91.8 / 80.3."""
    return _recipe(KSL(main=ReID(backbone=MobileNetV2()), branches=("stage4", "stage6")))


def ksl_mobilenet_baseline() -> Recipe:
    """KSL, Table 1: MobileNetV2 from scratch and alone, trained the same way. Expected 87.0 / 69.5."""
    return _recipe(ReID(backbone=MobileNetV2()))


def ksl_mobilenet_aux() -> Recipe:
    """MobileNetV2 from scratch with branches that do not have to agree: what KSL adds to. Table 4 has it of CMSNet."""
    return replace(ksl_mobilenet(), loss=AUX)


def ksl_mobilenet_pretrained() -> Recipe:
    """KSL, Table 3: MobileNetV2 and its branches from ImageNet weights. Expected 91.9 / 80.5."""
    return _pretrained(ksl_mobilenet())


def ksl_mobilenet_baseline_pretrained() -> Recipe:
    """KSL, Table 3: MobileNetV2 from ImageNet weights and alone. Expected 90.0 / 76.4."""
    return _pretrained(ksl_mobilenet_baseline())


def ksl_mobilenet_taught() -> Recipe:
    """MobileNetV2 with KSL from scratch, each branch distilled from fast re-ID's ResNet-50. In no paper."""
    return replace(ksl_mobilenet(), teacher=fast_reid().teacher, loss=KSLLoss(each=KDLoss()))


def ksl_mobilenet_search() -> Recipe:
    """MobileNetV2's space (kernels, expansions, skips) searched and retrained with KSL's branches. In no paper."""
    return replace(ksl_mobilenet(), strategy=DARTS())


def ksl_shufflenet() -> Recipe:
    """KSL, Table 1: ShuffleNetV2 from scratch with branches before stages 3 and 4. Expected 91.5 / 80.1."""
    return _recipe(KSL(main=ReID(backbone=ShuffleNetV2()), branches=("stage3", "stage4")))


def ksl_shufflenet_baseline() -> Recipe:
    """KSL, Table 1: ShuffleNetV2 from scratch and alone, trained the same way. Expected 84.8 / 65.0."""
    return _recipe(ReID(backbone=ShuffleNetV2()))


def ksl_shufflenet_pretrained() -> Recipe:
    """KSL, Table 3: ShuffleNetV2 and its branches from ImageNet weights. Expected 92.0 / 81.1."""
    return _pretrained(ksl_shufflenet())


def ksl_shufflenet_baseline_pretrained() -> Recipe:
    """KSL, Table 3: ShuffleNetV2 from ImageNet weights and alone. Expected 88.5 / 73.2."""
    return _pretrained(ksl_shufflenet_baseline())


def ksl_osnet() -> Recipe:
    """KSL, Tables 1 and 4 (+KSL-H): OSNet with branches before conv3 and conv4. CMSNet: 96.0 / 89.1."""
    return _recipe(KSL(main=ReID(backbone=OSNet()), branches=("conv3", "conv4")))


def ksl_osnet_baseline() -> Recipe:
    """KSL, Table 4 (Baseline): OSNet from scratch and alone, trained the same way. Expected on CUHK03 57.1 / 54.2."""
    return _recipe(ReID(backbone=OSNet()))


def ksl_osnet_aux() -> Recipe:
    """KSL, Table 4 (AUX): OSNet with branches that do not have to agree. CMSNet on CUHK03: 63.8 / 61.1."""
    return replace(ksl_osnet(), loss=AUX)


def ksl_osnet_p() -> Recipe:
    """KSL, Tables 4 and 5 (KSL-P): OSNet whose branches agree on probabilities. CMSNet on CUHK03: 73.6 / 71.4.

    `--loss.pa 0` makes it KSL-PP (68.0 / 64.7), `--loss.pp 0` KSL-PA (72.7 / 70.2).
    """
    return replace(ksl_osnet(), loss=replace(AUX, pp=1, pa=1))


def ksl_osnet_e() -> Recipe:
    """KSL, Tables 4 and 6 (KSL-E): OSNet whose branches agree on embeddings. CMSNet on CUHK03: 73.9 / 71.6.

    `--loss.ea 0` makes it KSL-EP (72.6 / 70.8), `--loss.ep 0` KSL-EA (72.4 / 70.4).
    """
    return replace(ksl_osnet(), loss=replace(AUX, ep=1, ea=1))


def ksl_osnet_h() -> Recipe:
    """KSL, Table 4 (KSL-H): OSNet whose branches agree on hard samples alone. CMSNet on CUHK03: 66.8 / 63.6."""
    return replace(ksl_osnet(), loss=replace(AUX, h=1))


def ksl_osnet_p_e() -> Recipe:
    """KSL, Table 4 (+KSL-E): OSNet whose branches agree on all but hard samples. CMSNet on CUHK03: 75.8 / 72.3."""
    return replace(ksl_osnet(), loss=KSLLoss(h=0))


def _recipe(space: KSL | ReID) -> Recipe:
    """Section 4.2: the triplet losses and the identity sampler join at epoch 150."""
    training = Training(
        epochs=350,
        sampling=Switched(at=150),
        augment=Augment(erase=0.5),
        optimiser=SGD(lr=0.0015, rate=CosineLR(final=0.0)),
    )
    return Recipe(
        data=Market1501(root=Path("data")),
        images=Images(height=256, width=128),
        space=space,
        student=None,
        teacher=None,
        strategy=None,
        loss=KSLLoss(triplet_from=150),
        retrain=training,
    )


def _pretrained(recipe: Recipe) -> Recipe:
    return replace(recipe, retrain=replace(recipe.retrain, pretrained="imagenet"))
