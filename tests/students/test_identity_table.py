"""The table and queue of online instance matching against loops in float64, with each trap of public code."""

import threading
from concurrent.futures import ThreadPoolExecutor

import pytest
import torch
import torch.nn.functional as F

from students import identity_table
from students.identity_table import IdentityTable, Matching
from students.losses import cross_entropy, oim

P, D, Q = 4, 5, 3


def table_of(filled=range(P), queued=Q, seed=0, **how):
    """A table in float64 with random rows."""
    rng = torch.Generator().manual_seed(seed)
    table = IdentityTable(P, D, Matching(**{"queue": Q, **how})).double()
    for rows, places, flags in (
        (table.table, list(filled), table.filled),
        (table.queue, list(range(queued)), table.queue_filled),
    ):
        rows[places] = F.normalize(torch.randn(len(places), D, generator=rng, dtype=torch.float64), dim=1)
        flags[places] = True
    return table


def features_of(number, seed=1):
    rng = torch.Generator().manual_seed(seed)
    return F.normalize(torch.randn(number, D, generator=rng, dtype=torch.float64), dim=1)


def loop_loss(table, features, labels):
    """The formula, row by row."""
    terms = []
    for x, label in zip(features, labels, strict=True):
        if label < 0 or not table.filled[label]:
            continue
        rows = [v for v, there in zip(table.table, table.filled, strict=True) if there]
        rows += [u for u, there in zip(table.queue, table.queue_filled, strict=True) if there]
        own = table.how.scale * (x @ table.table[label])
        terms.append(torch.stack([table.how.scale * (x @ row) for row in rows]).logsumexp(0) - own)
    return sum(terms) / max(len(terms), 1)


def loop_update(table, features, labels):
    """Rows after a step, one identity after the other."""
    rows, m = table.table.clone(), table.how.momentum
    for label in {int(label) for label in labels if label >= 0}:
        mean = F.normalize(features[labels == label].mean(dim=0), dim=0)
        rows[label] = F.normalize(m * rows[label] + (1 - m) * mean, dim=0) if table.filled[label] else mean
    return rows


LABELS = torch.tensor([2, -1, 0, 2, -2, 2, 3])


class TestLoss:
    @pytest.mark.parametrize("filled, queued", [(range(P), Q), (range(P), 0), ([0, 2], 1), ([3], Q)])
    def test_value_and_gradient_are_the_loops(self, filled, queued):
        table, features = table_of(filled, queued), features_of(len(LABELS))
        mine, theirs = features.clone().requires_grad_(), features.clone().requires_grad_()
        losses = oim(table.logits(mine), LABELS), loop_loss(table, theirs, LABELS)
        assert losses[0].item() == pytest.approx(losses[1].item(), rel=1e-12)
        for loss in losses:
            loss.backward()
        torch.testing.assert_close(mine.grad, theirs.grad, rtol=1e-10, atol=1e-12)

    @pytest.mark.parametrize("filled", [range(P), [0, 2]])
    def test_derivatives(self, filled):
        table, features = table_of(filled, 2, scale=3.0), features_of(len(LABELS)).requires_grad_()
        assert torch.autograd.gradcheck(lambda x: oim(table.logits(x), LABELS), features)
        assert torch.autograd.gradgradcheck(lambda x: oim(table.logits(x), LABELS), features)

    @pytest.mark.parametrize("labels", [[-1, -1], [-2, -2], [-1, 1], [1, 1]])
    def test_nobody_to_match_is_0_with_a_zero_gradient(self, labels):
        features = features_of(2).requires_grad_()
        loss = oim(table_of(filled=[], queued=0).logits(features), torch.tensor(labels))
        loss.backward()
        assert loss.item() == 0 and not features.grad.any()

    def test_without_a_queue_it_is_cross_entropy_of_a_classifier(self):
        table, features, labels = table_of(queue=0, queued=0), features_of(3), torch.tensor([0, 2, 3])
        expected = cross_entropy(table.how.scale * F.linear(features, table.table), labels)
        assert oim(table.logits(features), labels).item() == pytest.approx(expected.item(), rel=1e-12)

    def test_autocast_does_not_lower_the_precision(self):
        table, features = table_of().float(), features_of(len(LABELS)).float()
        exact = table.eval()(features, LABELS)
        with torch.autocast("cpu", torch.bfloat16):
            assert torch.equal(table(features, LABELS), exact)
            table.train()(features, LABELS)
        torch.testing.assert_close(table.table, loop_update(table_of().float(), features, LABELS))


class TestUpdate:
    @pytest.mark.parametrize("filled", [range(P), [0, 3], []])
    @pytest.mark.parametrize("momentum", [0.5, 0.0])
    def test_is_the_loops_whatever_the_order_of_regions(self, filled, momentum):
        features = features_of(len(LABELS))
        for order in (torch.arange(len(LABELS)), torch.randperm(len(LABELS), generator=torch.Generator())):
            table = table_of(filled, momentum=momentum)
            expected = loop_update(table, features, LABELS)
            table(features[order], LABELS[order])
            torch.testing.assert_close(table.table, expected, rtol=1e-12, atol=1e-14)
            assert table.filled.tolist() == [place in {*filled, 0, 2, 3} for place in range(P)]

    def test_comes_after_the_logits_and_leaves_their_gradient(self):
        table, features = table_of(), features_of(len(LABELS)).requires_grad_()
        expected = table.logits(features)
        actual = table(features, LABELS)
        assert torch.equal(actual, expected)
        gradients = [torch.autograd.grad(oim(logits, LABELS), features)[0] for logits in (actual, expected.clone())]
        fresh = torch.autograd.grad(oim(table_of().logits(features), LABELS), features)[0]
        assert torch.equal(gradients[0], fresh)

    @pytest.mark.parametrize("pause", ["eval", "learning"])
    def test_nothing_moves_outside_of_training(self, pause):
        table = table_of().eval() if pause == "eval" else table_of()
        table.learning = pause == "eval"
        before = {name: value.clone() for name, value in table.state_dict().items()}
        table(features_of(len(LABELS)), LABELS)
        assert all(torch.equal(value, before[name]) for name, value in table.state_dict().items())

    def test_nothing_of_it_is_a_parameter(self):
        assert not list(table_of().parameters())


class TestQueue:
    def test_wraps_around_and_the_oldest_goes(self):
        table, unknown = table_of(queued=0), features_of(5)
        table(unknown[:2], torch.tensor([-1, -1]))
        assert torch.equal(table.queue[:2], unknown[:2]) and table.queue_filled.tolist() == [True, True, False]
        table(unknown[2:4], torch.tensor([-1, -1]))
        assert torch.equal(table.queue, unknown[[3, 1, 2]]) and table.queue_filled.all() and table.pointer == 1
        table(unknown[4:], torch.tensor([-1]))
        assert torch.equal(table.queue, unknown[[3, 4, 2]]) and table.pointer == 2

    def test_of_more_than_it_holds_the_last_stay(self):
        table, unknown = table_of(queued=0), features_of(Q + 4)
        table(unknown, torch.full((Q + 4,), -1))
        assert sorted(map(tuple, table.queue.tolist())) == sorted(map(tuple, unknown[-Q:].tolist()))
        table(unknown[:1], torch.tensor([-1]))
        oldest = tuple(unknown[-Q].tolist())
        assert oldest not in map(tuple, table.queue.tolist()) and table.queue_filled.all()

    def test_length_0(self):
        table = table_of(queue=0, queued=0)
        assert table(features_of(2), torch.tensor([-1, 0])).shape == (2, P) and table.pointer == 0

    @pytest.mark.parametrize("first", [False, True])
    def test_it_can_be_written_before_the_loss(self, first):
        table, features = table_of(queued=0, queue_first=first), features_of(2)
        logits = table(features, torch.tensor([0, -1]))
        assert (logits[0, P:] > -torch.inf).tolist() == [first, False, False]
        assert table.queue_filled.tolist() == [True, False, False]


class TestFixed:
    def test_the_table_is_the_teachers_to_the_bit_and_the_queue_moves(self):
        teacher, student = table_of(seed=7), table_of(filled=[], queued=0)
        student.fix(teacher.table)
        loss = oim(student(features_of(len(LABELS)), LABELS), LABELS)
        assert torch.equal(student.table, teacher.table) and student.queue_filled.any()
        assert loss == oim(table_of(seed=7, queued=0).logits(features_of(len(LABELS))), LABELS)

    def test_it_stays_fixed_behind_a_checkpoint(self, tmp_path):
        student = table_of()
        student.fix(table_of(seed=7).table)
        torch.save(student.state_dict(), tmp_path / "table.pt")
        again = table_of()
        again.load_state_dict(torch.load(tmp_path / "table.pt", weights_only=True))
        again(features_of(len(LABELS)), LABELS)
        assert torch.equal(again.table, table_of(seed=7).table)

    def test_another_shape_is_refused(self):
        with pytest.raises(ValueError, match=r"a row for each training identity.*\[4, 5\], not \[4, 6\]"):
            table_of().fix(torch.zeros(P, 6))


def test_goes_on_from_a_checkpoint_in_the_middle_of_the_queue(tmp_path):
    steps = [(features_of(3, seed), torch.tensor([-1, seed % P, -1])) for seed in range(6)]
    whole, first = table_of(filled=[], queued=0), table_of(filled=[], queued=0)
    for step in steps:
        whole(*step)
    for step in steps[:4]:
        first(*step)
    torch.save(first.state_dict(), tmp_path / "table.pt")
    again = table_of()
    again.load_state_dict(torch.load(tmp_path / "table.pt", weights_only=True))
    for step in steps[4:]:
        again(*step)
    assert all(torch.equal(value, again.state_dict()[name]) for name, value in whole.state_dict().items())


class TwoProcesses:
    """Threads in the place of processes that `torch.distributed` connects."""

    def __init__(self):
        self.here, self.sent, self.barrier = threading.local(), [None, None], threading.Barrier(2, timeout=20)

    def is_initialized(self):
        return True

    def get_world_size(self):
        return 2

    def all_gather(self, parts, tensor):
        self.sent[self.here.rank] = tensor
        self.barrier.wait()
        for part, sent in zip(parts, self.sent, strict=True):
            part.copy_(sent)
        self.barrier.wait()

    def run(self, work):
        def start(rank):
            self.here.rank = rank
            return work(rank)

        with ThreadPoolExecutor(2) as pool:
            return list(pool.map(start, range(2)))


@pytest.mark.parametrize("queue_first", [False, True])
def test_two_processes_keep_one_table(monkeypatch, queue_first):
    processes = TwoProcesses()
    monkeypatch.setattr(identity_table, "distributed", processes)

    def work(rank):
        table, rows = table_of([0], queue_first=queue_first), slice(None, 5) if rank == 0 else slice(5, None)
        for step in range(2):
            table(features_of(len(LABELS), step)[rows], LABELS[rows])
        return table.state_dict()

    found = processes.run(work)
    monkeypatch.undo()
    alone = table_of([0], queue_first=queue_first)
    for step in range(2):
        alone(features_of(len(LABELS), step), LABELS)
    for name, value in alone.state_dict().items():
        assert torch.equal(found[0][name], found[1][name])
        torch.testing.assert_close(found[0][name], value)
