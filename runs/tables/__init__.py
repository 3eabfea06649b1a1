"""The papers' tables and figures by the names that `nas reproduce` knows them by."""

from collections.abc import Callable, Mapping, Sequence

from nas.study.published import Published
from runs.tables import fast_reid, kd_person_search, kdas, ksl, vrkd

PAPERS: Mapping[str, Mapping[str, Callable[[], Sequence[Published]]]] = {
    "kdas": {"table1": kdas.table1, "table2": kdas.table2, "table3": kdas.table3, "table4": kdas.table4},
    "fast_reid": {
        "table1": fast_reid.table1,
        "table2": fast_reid.table2,
        "table3": fast_reid.table3,
        "figures5-10": fast_reid.figures5_10,
    },
    "vrkd": {
        "table1": vrkd.table1,
        "table2": vrkd.table2,
        "table3": vrkd.table3,
        "figure4": vrkd.figure4,
        "figure5": vrkd.figure5,
        "figure6": vrkd.figure6,
    },
    "ksl": {
        "table1": ksl.table1,
        "table2": ksl.table2,
        "table3": ksl.table3,
        "table4": ksl.table4,
        "table5": ksl.table5,
        "table6": ksl.table6,
        "figure5": ksl.figure5,
        "figure6": ksl.figure6,
        "figure7": ksl.figure7,
    },
    "kd_person_search": {
        "table1": kd_person_search.table1,
        "table2a": kd_person_search.table2a,
        "table2b": kd_person_search.table2b,
        "table3": kd_person_search.table3,
        "figure1": kd_person_search.figure1,
    },
}

UNTRAINED: Mapping[tuple[str, str], str] = {
    ("fast_reid", "table1"): "layer_shares",
    ("vrkd", "figure5"): "times",
}
"""Tables of networks that need no training, and how they are measured: a name of `nas.stages.untrained.MEASURES`."""

PICTURES: Mapping[tuple[str, str], str] = {
    ("fast_reid", "figures5-10"): "trainings",
    ("vrkd", "figure4"): "plain_tsne",
    ("vrkd", "figure6"): "settings",
    ("ksl", "figure5"): "weights",
    ("ksl", "figure6"): "label_noise",
    ("ksl", "figure7"): "augmented_tsne",
    ("kd_person_search", "figure1"): "trade_off",
}
"""What is drawn of the runs of a paper's figure: a name of `nas.stages.paper_figures.FIGURES`."""
