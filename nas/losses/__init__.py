"""The losses by name, each with its defaults. `HintLoss` has none: it needs the names of maps."""

from nas.losses.base import Loss
from nas.losses.dist import DISTLoss
from nas.losses.dkd import DKDLoss
from nas.losses.kd import KDLoss
from nas.losses.kdas import KDASLoss
from nas.losses.ksl import KSLLoss
from nas.losses.labels import LabelLoss
from nas.losses.oim import DetectorKD, OIMLoss
from nas.losses.query_guided import QueryGuidedLoss
from nas.losses.relations import PKTLoss, RKDLoss, SimilarityLoss
from nas.losses.vrkd import BranchesLoss, VRKDLoss

LOSSES: dict[str, Loss] = {
    "kdas": KDASLoss(),
    "labels": LabelLoss(),
    "kd": KDLoss(),
    "vrkd": VRKDLoss(),
    "dist": DISTLoss(),
    "dkd": DKDLoss(),
    "rkd": RKDLoss(),
    "sp": SimilarityLoss(),
    "pkt": PKTLoss(),
    "branches": BranchesLoss(),
    "ksl": KSLLoss(),
    "oim": OIMLoss(),
    "kd_reid": OIMLoss(weight=0.1, fixed_table=True),
    "kd_det": OIMLoss(detector=DetectorKD()),
    "qeeps": QueryGuidedLoss(),
}
