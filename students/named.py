"""Students by name."""

from collections.abc import Mapping

from search_spaces.cell import Cells
from search_spaces.densenet import DenseNet
from search_spaces.mobilenet_v2 import MobileNetV2
from search_spaces.osnet import OSNet
from search_spaces.resnet import ResNet
from search_spaces.sdc_cnn import SDCCNN
from search_spaces.shallow_cnn import ShallowCNN
from search_spaces.shufflenet_v2 import ShuffleNetV2
from students.reid import ReID

STUDENTS: Mapping[str, ReID] = {
    "kdas": ReID(backbone=Cells(channels=64)),
    "mobilenet_v2": ReID(backbone=MobileNetV2(), embedding_dim=512),
    "shufflenet_v2": ReID(backbone=ShuffleNetV2(), embedding_dim=512),
    "osnet": ReID(backbone=OSNet(), embedding_dim=512),
    "shallow_cnn": ReID(backbone=ShallowCNN(), embedding_dim=256),
    "sdc_cnn": ReID(backbone=SDCCNN(), embedding_dim=256),
    "densenet121": ReID(backbone=DenseNet(), embedding_dim=256),
    "resnet18": ReID(backbone=ResNet(depth=18), embedding_dim=256),
    "resnet50": ReID(backbone=ResNet(depth=50), embedding_dim=256),
}
"""Published points, with the length of the embedding in KSL (512) and in VRKD (256)."""
