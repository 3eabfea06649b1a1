"""`nas pretrain`: trains the student's backbone on a folder of classes, before it is retrained."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import torch

from nas.data.class_folders import check_headers, read_class_folders
from nas.models.network import Network
from nas.run import RESULTS, Run
from nas.stages.again import Overwrite, started
from nas.training.memory import check_memory
from nas.training.pretraining import pretrain_network
from students.image_classifier import ImageClassifier


def pretrain(run: Run, overwrite: Overwrite = False) -> None:
    """Trains the backbone of the student, found or published, into `pretrained.safetensors`. Goes on where a killed
    process stopped. Raises ValueError before any work for a folder or images that cannot be used."""
    with started(run, ["pretrain"], overwrite) as run:
        _pretrain(run)


def _pretrain(run: Run) -> None:
    recipe, how = run.recipe, run.recipe.pretraining
    if how.data is None:
        raise ValueError("nas pretrain needs images: give --pretraining.data a folder with train/CLASS and val/CLASS")
    found = run.architecture()
    student, architecture = recipe.retrained.with_ids(1).inference(found)
    known: Any = student
    if not hasattr(known, "backbone"):
        raise ValueError(f"{student.title} has no backbone of its own to pretrain: take a student of one backbone")
    data = read_class_folders(how.data)
    space = ImageClassifier(backbone=known.backbone).with_ids(len(data.classes))
    with torch.device("meta"):
        net = space.student(architecture)
    check_memory("the pretraining", net, how.batch_size, how.size, how.size, recipe.machine)
    sizes = [len(split.labels) for split in (data.train, data.val)]
    stage = run.begin("pretrain", architecture.hash if architecture else None, data.classes, sizes)
    if stage is None:
        return
    if stage.state is None and stage.fabric.is_global_zero:
        for split in (data.train, data.val):
            check_headers(split.images, how.workers)
    stage.fabric.barrier()
    torch.manual_seed(recipe.seed)
    net = space.student(architecture)
    network = Network(net, space, architecture, tuple(range(len(data.classes))))
    with stage.working():
        trained: Any = pretrain_network(net, data, how, recipe.seed, stage)
        if stage.fabric.is_global_zero:
            card = network.card_for(how.size, how.size)
            replace(network, net=trained, card=card).save(run.folder / RESULTS["pretrain"])
            run.end(stage)
        stage.fabric.barrier()
