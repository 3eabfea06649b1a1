"""The classifier without parameters of online instance matching (Xiao et al. 2017): a table and a queue of features."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, distributed, nn

from search_spaces.ranges import CountOrZero, Positive, Ranged, ShareBelowOne
from students.losses import at_least_float32, without_autocast
from students.scenes import UNKNOWN


@dataclass(frozen=True, kw_only=True)
class Matching(Ranged):
    """Online instance matching: what features are told apart from while training."""

    scale: Positive = 30.0
    """Factor on the cosines: one over the softmax's temperature (the authors' code: 10)."""
    momentum: ShareBelowOne = 0.5
    """Share of an identity's row that is kept when a new feature of it comes."""
    queue: CountOrZero = 5000
    """Features of persons without identity that are remembered (500 for PRW); 0: none."""
    queue_first: bool = False
    """Whether persons without identity join the queue before the loss of their batch is taken, not after it."""


class IdentityTable(nn.Module):
    """A row of length 1 for each identity, and a circular queue of the last persons without identity.

    All of it is buffers: no gradient and no weight decay reaches it, and a checkpoint has it. Rows start empty.
    Deviations from the paper and from public code: all regions of an identity are one update, by their mean, whatever
    their order; rows are of length 1 after it; an empty row counts in no softmax, and the first feature fills it;
    several processes update their tables with what all of them saw, so that the tables stay the same.
    """

    table: Tensor
    """`[P, D]`."""
    filled: Tensor
    """`[P]` bool."""
    queue: Tensor
    """`[Q, D]`."""
    queue_filled: Tensor
    """`[Q]` bool."""
    pointer: Tensor
    """Where the queue is written next."""
    fixed: Tensor
    """Whether the table is another network's and stays as it is; the queue moves on."""

    def __init__(self, num_ids: int, dim: int, how: Matching) -> None:
        super().__init__()
        self.how = how
        self.learning = True
        for rows, name, filled in ((num_ids, "table", "filled"), (how.queue, "queue", "queue_filled")):
            self.register_buffer(name, torch.zeros(rows, dim))
            self.register_buffer(filled, torch.zeros(rows, dtype=torch.bool))
        self.register_buffer("pointer", torch.tensor(0))
        self.register_buffer("fixed", torch.tensor(False))

    def fix(self, table: Tensor) -> None:
        """Takes another network's `table [P, D]` for good (KD_reid). Raises ValueError when it has another shape."""
        if table.shape != self.table.shape:
            raise ValueError(
                "a fixed identity table must have a row for each training identity, as long as the student's "
                f"features: {list(self.table.shape)}, not {list(table.shape)}"
            )
        self.table.copy_(table)
        self.filled.fill_(True)
        self.fixed.fill_(True)

    def complete(self, identities: Sequence[int] | None = None) -> Tensor:
        """The table `[P, D]`. Raises ValueError naming the `identities`, else the rows, that nobody has filled."""
        if not self.filled.is_meta and not self.filled.all():
            rows = (~self.filled).nonzero().flatten().tolist()
            names = [identities[row] for row in rows[:10]] if identities else rows[:10]
            raise ValueError(
                f"a teacher's identity table must have every row filled; {len(rows)} of {len(self.filled)} are not, of "
                f"the {'identities' if identities else 'labels'} {', '.join(map(str, names))}"
                f"{', ...' * (len(rows) > 10)}: train the teacher for longer"
            )
        return self.table

    def forward(self, features: Tensor, labels: Tensor) -> Tensor:
        """`features [R, D]` of length 1 against all rows, then, in training, what they change of them.

        `labels [R]`: an identity's number, `UNKNOWN`, or below it for those that count nowhere.
        """
        with without_autocast(features):
            features = at_least_float32(features)
            if not (self.training and self.learning) or features.is_meta:
                return self.logits(features)
            seen = gathered(features.detach(), labels)
            if self.how.queue_first:
                self.enqueue(*seen)
            logits = self.logits(features)
            if not self.how.queue_first:
                self.enqueue(*seen)
            self.update(*seen)
        return logits

    def logits(self, features: Tensor) -> Tensor:
        """`scale` times the cosines with the identities and the queue `[R, P + Q]`; -inf for empty rows."""
        rows = torch.cat([self.table, self.queue])  # a copy: what is learned later does not change this step's gradient
        empty = ~torch.cat([self.filled, self.queue_filled])
        return (self.how.scale * features @ rows.to(features.dtype).T).masked_fill(empty, -torch.inf)

    @torch.no_grad()
    def update(self, features: Tensor, labels: Tensor) -> None:
        """Moves each identity's row towards the mean of its features: `norm(m * row + (1 - m) * norm(mean))`."""
        known = labels >= 0
        features, labels = features[known].to(self.table.dtype), labels[known]
        if not len(labels):
            return
        same = labels[:, None] == labels
        mean = F.normalize(same.to(features.dtype) @ features, dim=1)[same.int().argmax(dim=1)]  # once per identity
        row = self.table[labels]
        moved = F.normalize(self.how.momentum * row + (1 - self.how.momentum) * mean, dim=1)
        kept = torch.where(self.fixed, row, torch.where(self.filled[labels][:, None], moved, mean))
        self.table[labels] = kept
        self.filled[labels] = True

    @torch.no_grad()
    def enqueue(self, features: Tensor, labels: Tensor) -> None:
        """Writes the features of persons without identity over the queue's oldest."""
        size = len(self.queue)
        features = features[labels == UNKNOWN]
        num_new = len(features)
        if not size or not num_new:
            return
        first = max(num_new - size, 0)
        places = (self.pointer + torch.arange(first, num_new, device=features.device)) % size
        self.queue[places] = features[first:].to(self.queue.dtype)
        self.queue_filled[places] = True
        self.pointer.copy_((self.pointer + num_new) % size)


def gathered(features: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
    """The rows of all processes, in their order; where there is one process, its own."""
    if not distributed.is_initialized() or distributed.get_world_size() == 1:
        return features, labels
    number = torch.tensor([len(labels)], device=labels.device)
    numbers = [torch.empty_like(number) for _ in range(distributed.get_world_size())]
    distributed.all_gather(numbers, number)
    most = int(max(each.item() for each in numbers))
    found = []
    for tensor in (features, labels):
        padded = torch.cat([tensor, tensor.new_zeros(most - len(tensor), *tensor.shape[1:])])
        parts = [torch.empty_like(padded) for _ in numbers]
        distributed.all_gather(parts, padded)
        found.append(torch.cat([part[: int(each)] for part, each in zip(parts, numbers, strict=True)]))
    return found[0], found[1]
