"""`nas export`: a network of a run as a file for cameras, which is measured before it is called good."""

from __future__ import annotations

import copy
import math
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch
from torch import nn

from nas.models.card import Card
from nas.models.network import Network
from nas.models.network_files import open_file
from nas.models.onnx_export import FEATURES
from nas.run import CONTROLS, RESULTS, Run
from nas.stages.evaluate import network_files
from nas.stages.export_check import Made, Reference, make, parity, table_rows
from nas.stages.export_data import ExportData
from nas.stages.export_finder import export_finder
from nas.stages.export_form import Exporter, Form, described, files_of
from nas.stages.use_network import measured_card
from nas.system.files import digest
from nas.system.progress import timed
from nas.tasks.base import FindsPersons, image_size
from students.space import check_task

TRAINED_BY = {"student": "retrain", **{stage: stage for stage in ("baseline", *CONTROLS)}}
"""The stage of each network that is always the run's own."""


def export(run: Run, path: Path | None = None, overwrite: bool = False, form: Form | None = None) -> dict[str, Any]:
    """Writes a network of the run in a form to `path`, by default a file in its folder; returns what was measured.

    The file takes `images` `[B, 3, height, width]`, normalised as for ImageNet or in pixels, in batches of any size,
    and gives `features` `[B, D]`. Its metadata have a `Card`. A file whose mAP falls by more than the form's tolerance
    is not written, and what is returned says so (`good`). Otherwise the measurements lie beside it.

    A network for person search is written for ONNX or OpenVINO in fp32: it takes one image, whose right and lower side
    may be padding of 0, and gives `boxes` `[N, 4]` in its pixels, `scores` `[N]` and `features` `[N, D]`, a row for
    each person or the form's number of rows.

    Raises ValueError for a network that is not there, packages that are missing, a form that a network cannot have, a
    data set that cannot be read, files that are there already, operations that a format has no form of, and features
    that differ by more than rounding.
    """
    form = form or Form()
    path = path or form.path_in(run.folder)
    weights = check_can_export(run, path, overwrite, form)
    network = Network.load(weights)
    check_task(f"the {form.network} {weights} ({network.title})", network.space.task, run.recipe.data.task)
    deployed = run.recipe.task.deployed(network.net).eval()
    card = card_of(run, network, weights, deployed, form)
    if isinstance(deployed, FindsPersons):
        return export_finder(run, path, deployed, form, card)
    if form.rows is not None:
        raise ValueError(f"--rows is for networks that find persons, and the {form.network} gives a row for each image")
    data = ExportData(run, form, card) if not form.no_measure or form.precision == "int8" else None
    with TemporaryDirectory() as folder:
        with timed(f"{form.network} as {form.format}", run.folder):
            exporter = Exporter(deployed, form, card, Path(folder))
        reference = Reference.of(deployed, form.network, None if form.no_measure else data)
        made = make(exporter, form, data, reference)
        said = _describe(path, exporter, form, made, reference, weights)
        if said["good"]:
            made.written.hand_over(path, said)
    return said


def check_can_export(run: Run, path: Path, overwrite: bool, form: Form) -> Path:
    """The weights of the network to export. Raises ValueError before any work: see `export`."""
    form.check()
    if path.suffix != form.ending:
        raise ValueError(f"--out must be a file named *{form.ending} for --format {form.format}, not {path}")
    if not overwrite and (there := [each for each in files_of(path) if each.exists()]):
        raise ValueError(f"{there[0]} exists: give --out another file, or --overwrite to replace it")
    own = {role: run.folder / RESULTS[stage] for role, stage in TRAINED_BY.items()}
    if form.network in own and own[form.network].is_file():  # also where the run's teacher is not to be found
        return own[form.network]
    if form.network == "student":
        raise ValueError(f"{run.folder} has no student.safetensors yet: `nas retrain {run.folder}` comes first")
    files = network_files(run)
    if form.network in files:
        return files[form.network]
    raise ValueError(
        f"--network must be one of the run's trained networks, not {form.network!r}: {run.folder} has "
        f"{', '.join(files) or 'none'}"
    )


def card_of(run: Run, network: Network, weights: Path, deployed: nn.Module, form: Form) -> Card:
    """What the file says of itself. The thresholds that the run's evaluation measured are left out where the file's
    distances are other ones: at another size, and euclidean ones of features that have got length 1."""
    own = image_size(run.recipe.task, run.recipe)
    height, width = form.height or own[0], form.width or own[1]
    card = network.card_for(height, width, getattr(run.recipe.evaluation, "distance", "cosine"))
    if (height, width) == own and (card.distance == "cosine" or not form.with_preprocessing):
        card = measured_card(card, weights)
    return replace(
        card,
        takes="uint8" if form.with_preprocessing else "normalised",
        embedding_size=num_features(deployed, height, width),
        network=f"{form.network} ({network.title})",
    )


def num_features(deployed: nn.Module, height: int, width: int) -> int:
    """The length of a feature; 0 of a detector alone."""
    if isinstance(deployed, FindsPersons):
        return deployed.out_channels
    return copy.deepcopy(deployed).to("meta")(torch.empty(2, 3, height, width, device="meta")).shape[1]


def _describe(
    path: Path, exporter: Exporter, form: Form, made: Made, reference: Reference, weights: Path
) -> dict[str, Any]:
    """What is said of a file. Raises ValueError where its features are not the network's."""
    card = replace(exporter.card, precision=form.precision)
    compared = parity(open_file(made.written.path, card), made.found, reference, card)
    rows = [] if form.no_measure else table_rows(exporter, form, made, reference)
    fall = None if made.found is None else reference.fall(made.found)
    slower = rows[1:] and rows[-1]["ms_per_image_1"] > rows[-2].get("ms_per_image_1", math.inf)
    remarks = [*made.written.remarks, *(["it is slower than fp32"] if slower else [])]
    return described(path, form, card) | {
        "weights": digest(weights),
        "exporter": made.written.exporter,
        "images": ["batch", 3, card.height, card.width],
        "outputs": list(FEATURES),
        "parity": compared,
        "rows": rows,
        "candidates": made.candidates,
        "mAP_fall": fall,
        "tolerance": form.tolerance,
        "good": fall is None or fall <= form.tolerance,
        "remarks": remarks,
    }
