"""The strategies by the names that the command line gives them."""

from nas.strategies.base import Strategy
from nas.strategies.darts import DARTS
from nas.strategies.gdas import GDAS
from nas.strategies.pc_darts import PCDARTS

STRATEGIES: dict[str, type[Strategy]] = {
    "darts": DARTS,
    "pc_darts": PCDARTS,
    "gdas": GDAS,
}
