"""The whole path in minutes, on synthetic pedestrians: nothing to download."""

from dataclasses import replace

from nas.data.augment import Augment
from nas.data.images import Images
from nas.data.sampling import ClassBalanced
from nas.data.sets.pedestrians import Pedestrians
from nas.data.sets.vehicles import Vehicles
from nas.losses.kdas import KDASLoss
from nas.recipe import Recipe, TeacherRecipe
from nas.strategies.darts import DARTS
from nas.strategies.settings import Search
from nas.training.machine import Machine
from nas.training.optimisers import SGD, Adam, CosineLR
from nas.training.settings import Training
from search_spaces.cell import Cells
from search_spaces.mobilenet_v2 import MobileNetV2
from search_spaces.resnet import ResNet
from students.reid import ReID


def demo() -> Recipe:
    """Search, derive, retrain and evaluate on synthetic pedestrians: under five minutes on two cores."""
    augment = Augment(crop_padding=4)
    return Recipe(
        data=Pedestrians(num_train_ids=48, num_test_ids=32, images_per_id=16, height=64, width=32),
        images=Images(height=64, width=32),
        space=ReID(backbone=Cells(channels=8, cells=4, reductions=(2, 4)), embedding_dim=128),
        student=ReID(backbone=Cells(channels=16, cells=4, reductions=(2, 4)), embedding_dim=128),
        baseline=ReID(backbone=ResNet(depth=18, width=0.25), embedding_dim=128),
        teacher=TeacherRecipe(
            net=ReID(backbone=ResNet(depth=18, width=0.5, last_stride=1), embedding_dim=None),
            training=Training(epochs=16, augment=augment, validate_every=4, optimiser=Adam(lr=1e-3, rate=CosineLR())),
        ),
        strategy=DARTS(epochs=7, weights=SGD(lr=0.05, rate=CosineLR())),
        search=Search(augment=augment),
        retrain=Training(epochs=26, augment=augment, validate_every=4, optimiser=Adam(lr=2e-3, rate=CosineLR())),
        machine=Machine(threads=1),  # maps this small are computed faster by one thread than by two
    )


def toy() -> Recipe:
    """The demo at a size for tests: every stage in a few seconds, the result means nothing."""
    sampling = ClassBalanced(num_ids=4, images_per_id=2)
    cells = ReID(backbone=Cells(channels=3, cells=2, reductions=(2,)), embedding_dim=8)
    brief = Training(epochs=2, sampling=sampling, validate_every=1, optimiser=Adam(lr=1e-3))
    recipe = demo()
    return replace(
        recipe,
        data=Pedestrians(num_train_ids=6, num_test_ids=4, images_per_id=8, num_cameras=2, height=32, width=16),
        images=Images(height=32, width=16),
        space=cells,
        student=None,
        baseline=ReID(backbone=MobileNetV2(width=0.25), embedding_dim=8),
        teacher=TeacherRecipe(net=ReID(backbone=ResNet(depth=18), embedding_dim=8), training=brief),
        strategy=DARTS(epochs=2),
        search=Search(sampling=sampling),
        retrain=brief,
        loss=KDASLoss(),
    )


def toy_vehicles() -> Recipe:
    """The toy on synthetic vehicles instead of pedestrians."""
    vehicles = Vehicles(num_train_ids=6, num_test_ids=4, images_per_id=8, num_cameras=2, height=24, width=32)
    return replace(toy(), data=vehicles, images=Images(height=24, width=32))
