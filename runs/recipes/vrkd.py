"""VRKD (Xie et al., EURASIP JWCN 2021): small vehicle networks taught by four directional ResNet-18, Tables 1 to 3.

Rank-1 / mAP on VeRi-776 with label smoothing (LSR; Tables 2 and 3, and 1 for the last stride), VehicleID by
`--on vehicleid`:

| network | image | alone | with VRKD |
|---|---|---|---|
| shallow CNN | 128x128 | 78.78 / 42.16 | 83.02 / 52.20 |
| SDC-CNN | 128x128 | 89.81 / 58.50 | 93.62 / 69.87 |
| DenseNet-121 | 256x256 | 85.64 / 54.26 | 90.11 / 65.22 |
| ResNet-18 | 256x256 | 92.37 / 68.03 | 94.52 / 74.67 |
| ResNet-18, last stride 1 | 256x256 | | 95.65 / 76.12 |
| ResNet-50 | 256x256 | 95.05 / 73.98 | 94.58 / 75.74 |

The tricks of Table 1 are flags: without LSR `--loss.label-smoothing 0` (83.19 / 52.16 CNN, 93.44 / 69.59 SDC-CNN,
94.52 / 74.40 ResNet-18), with TRI, which no row of VRKD has, `--loss.triplet-weight 1`, 512x512 by `--images.height`
and `--images.width`. Figure 6 has T and lambda: `nas tune vrkd --parameters vrkd`.

The paper trained 120 epochs on four TITAN X and gives no time. It does not say what the teacher is given: here the
student's image, as its pooling for 8x8 to 32x32 maps suggests, and the student's schedule.
"""

from dataclasses import replace
from pathlib import Path

from nas.data.augment import Augment
from nas.data.images import Images
from nas.data.sampling import Shuffled
from nas.data.sets.veri776 import VeRi776
from nas.losses.vrkd import BranchesLoss, VRKDLoss
from nas.recipe import Recipe, TeacherRecipe
from nas.strategies.darts import DARTS
from nas.training.optimisers import SGD, MultiStepLR
from nas.training.settings import Training
from search_spaces.densenet import DenseNet
from search_spaces.mobilenet_v2 import MobileNetV2
from search_spaces.resnet import ResNet
from search_spaces.sdc_cnn import SDCCNN
from search_spaces.shallow_cnn import ShallowCNN
from search_spaces.space import SearchSpace
from students.reid import ReID
from teachers.directional import Directional


def vrkd() -> Recipe:
    """VRKD, Table 3: ResNet-18 taught by the quadruple directional net, VeRi-776. Expected 94.52 / 74.67."""
    return _recipe(ResNet(depth=18))


def vrkd_alone() -> Recipe:
    """VRKD, Table 2: ResNet-18 without a teacher. Expected 92.37 / 68.03."""
    return replace(vrkd(), teacher=None)


def vrkd_last_stride() -> Recipe:
    """VRKD, Table 1: ResNet-18 whose last stride is 1, taught. Expected 95.65 / 76.12."""
    return _recipe(ResNet(depth=18, last_stride=1))


def vrkd_cnn() -> Recipe:
    """VRKD, Table 3: the shallow CNN, 1.01 M parameters, taught. Expected 83.02 / 52.20."""
    return _recipe(ShallowCNN(), size=128, pretrained="")


def vrkd_cnn_alone() -> Recipe:
    """VRKD, Table 3: the shallow CNN without a teacher. Expected 78.78 / 42.16."""
    return replace(vrkd_cnn(), teacher=None)


def vrkd_sdc_cnn() -> Recipe:
    """VRKD, Table 3: the SDC-CNN (a reconstruction), taught. Expected 93.62 / 69.87."""
    return _recipe(SDCCNN(), size=128, pretrained="")


def vrkd_sdc_cnn_alone() -> Recipe:
    """VRKD, Table 3: the SDC-CNN (a reconstruction) without a teacher. Expected 89.81 / 58.50."""
    return replace(vrkd_sdc_cnn(), teacher=None)


def vrkd_densenet() -> Recipe:
    """VRKD, Table 3: DenseNet-121, taught. Expected 90.11 / 65.22."""
    return _recipe(DenseNet())


def vrkd_densenet_alone() -> Recipe:
    """VRKD, Table 2: DenseNet-121 without a teacher. Expected 85.64 / 54.26."""
    return replace(vrkd_densenet(), teacher=None)


def vrkd_resnet50() -> Recipe:
    """VRKD, Table 3: ResNet-50, taught. Expected 94.58 / 75.74."""
    return _recipe(ResNet(depth=50))


def vrkd_resnet50_alone() -> Recipe:
    """VRKD, Table 2: ResNet-50 without a teacher. Expected 95.05 / 73.98."""
    return replace(vrkd_resnet50(), teacher=None)


def vrkd_mobilenet() -> Recipe:
    """MobileNetV2 taught as VRKD's students are; the paper has no such row."""
    return _recipe(MobileNetV2())


def vrkd_mobilenet_alone() -> Recipe:
    """MobileNetV2 trained as VRKD's students are, without a teacher; the paper has no such row."""
    return replace(vrkd_mobilenet(), teacher=None)


def search_shallow_cnn() -> Recipe:
    """The shallow CNN's space (kernels, depth, pooling) searched under VRKD's teacher. To beat: 83.02 / 52.20."""
    return replace(vrkd_cnn(), strategy=DARTS(epochs=60))


def search_sdc_cnn() -> Recipe:
    """The SDC-CNN's space (units' length, dense or plain) searched under VRKD's teacher. To beat: 93.62 / 69.87."""
    return replace(vrkd_sdc_cnn(), strategy=DARTS(epochs=60))


def _recipe(backbone: SearchSpace, size: int = 256, pretrained: str = "imagenet") -> Recipe:
    """Section 3.2: label smoothing 0.1, and the printed schedule for teacher and student."""
    training = Training(
        epochs=120,
        sampling=Shuffled(batch_size=256),
        augment=Augment(crop_padding=0, erase=0.5),
        optimiser=SGD(lr=2e-2, rate=MultiStepLR(milestones=(60, 90, 110), warmup_epochs=5)),
    )
    teacher = TeacherRecipe(
        net=Directional(),
        loss=BranchesLoss(each=VRKDLoss(label_smoothing=0.1)),
        training=replace(training, pretrained="imagenet"),
    )
    return Recipe(
        data=VeRi776(root=Path("data")),
        images=Images(height=size, width=size),
        strategy=None,
        teacher=teacher,
        space=ReID(backbone=backbone, embedding_dim=256),
        student=None,
        loss=VRKDLoss(label_smoothing=0.1),
        retrain=replace(training, pretrained=pretrained),
    )
