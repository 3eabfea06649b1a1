"""The best small network that this toolkit knows how to make, from scratch: at most 2.5 M parameters, no ImageNet.

It puts together what the papers have one by one: OSNet's space searched under a strong teacher, then what is found
trained with KSL's branches, the teacher's falling temperature and its relations between images. The aim on Market-1501
is more than OSNet itself from scratch, 93.6 / 81.0 (KSL, Table 2), at its size: 2.17 M parameters and 0.98 G MACs at
256x128, a branch or a teacher none of them.

The training is the one OSNet was published with from scratch (Zhou et al. 2019, section 4.1): 350 epochs, batches of
64, SGD at 0.065, a tenth of it from epochs 150, 225 and 300 on; KSL's triplet losses join at the first of these.

    nas run from_scratch --data.root data --machine.precision bf16

It has not been run at this size. Expected on one H200: six hours, most of them for the search. That is an estimate from
its 4.5 million images of retraining, each of which passes OSNet, its two branches and a ResNet-50, at the thousand a
second that OSNet's many small operations allow, and from a search of as many images at half that speed.
"""

from dataclasses import replace

from nas.data.augment import Augment
from nas.data.images import Images
from nas.data.sampling import ClassBalanced, Switched
from nas.losses.kdas import KDASLoss
from nas.losses.ksl import KSLLoss
from nas.losses.relations import RKDLoss
from nas.recipe import Recipe
from nas.training.optimisers import SGD, Adam, CosineLR, MultiStepLR
from nas.training.settings import Training
from runs.recipes.evidence import MIRRORED, evidence_falling
from runs.recipes.search_students import search_osnet
from search_spaces.osnet import OSNet
from students.ksl import KSL
from students.reid import ReID

BRANCHES = ("conv3", "conv4")
TAUGHT = KDASLoss()


def from_scratch() -> Recipe:
    """OSNet's space searched and trained from scratch with all that helps. Aim: above OSNet's own 93.6 / 81.0."""
    recipe = search_osnet()
    training = Training(
        epochs=350,
        sampling=Switched(at=150),
        augment=Augment(erase=0.5),
        optimiser=SGD(lr=0.065, rate=MultiStepLR(milestones=(150, 225, 300))),
    )
    return replace(
        recipe,
        student=KSL(main=ReID(backbone=OSNet()), branches=BRANCHES),
        baseline=ReID(backbone=OSNet()),
        loss=RKDLoss(each=TAUGHT),
        retrain_loss=RKDLoss(each=KSLLoss(each=TAUGHT, triplet_from=150)),
        retrain=training,
    )


def evidence_from_scratch() -> Recipe:
    """The same on the part of Market-1501 at a size for two cores: OSNet x0.25 at 96x48 under a shallow CNN."""
    recipe, full = evidence_falling(), from_scratch()
    network = ReID(backbone=OSNet(width=0.25), embedding_dim=256)
    return replace(
        recipe,
        space=network,
        student=KSL(main=network, branches=BRANCHES),
        images=Images(height=96, width=48),
        loss=full.loss,
        retrain_loss=RKDLoss(each=KSLLoss(each=TAUGHT, triplet_from=3)),
        retrain=Training(
            epochs=7,
            augment=MIRRORED,
            sampling=ClassBalanced(num_ids=8, images_per_id=4, num_batches=90),
            optimiser=Adam(lr=4.5e-3, rate=CosineLR(warmup_epochs=1)),
        ),
    )
