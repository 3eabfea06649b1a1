"""The counting of kernels, and what it refuses: whatever makes the host wait, and tensors of two devices."""

import pytest
import torch

from nas.bench.kernels import Kernels, as_on_a_gpu

META = torch.device("meta")
X = torch.empty(4, 3, device=META)


def test_an_operation_that_is_no_view_is_a_kernel_and_moves_what_it_takes_and_gives():
    with Kernels() as counted:
        y = X.T.unflatten(1, (2, 2)) + 1.0
        y.mul_(2.0)
        torch.empty_like(y)
    assert counted.num_kernels == 2 and counted.num_bytes == 4 * (12 + 12 + 12 + 12) and counted.num_sent == 0


def test_operations_of_the_host_do_not_count():
    with Kernels() as counted:
        torch.zeros(3).add_(1.0).max().item()
    assert counted.num_kernels == 0


def test_what_the_host_sends_is_counted():
    with Kernels() as counted:
        X.copy_(torch.ones(4, 3))
        torch.ones(3).to(META)
        X.to(torch.float64)
    assert counted.num_sent == 2 and counted.num_kernels == 3


READING = {
    "item": lambda: X.sum().item(),
    "a branch": lambda: 1 if X.sum() > 0 else 0,
    "tolist": lambda: X.tolist(),
    "to the host": lambda: X.cpu(),
    "nonzero": lambda: X.nonzero(),
    "where alone": lambda: torch.where(X > 0),
    "a mask as index": lambda: X[X > 0],
    "a mask as place": lambda: X.index_put_((X > 0,), X[0, 0]),
    "masked_select": lambda: X.masked_select(X > 0),
    "unique": lambda: X.unique(),
    "one_hot without a number": lambda: torch.nn.functional.one_hot(X.long()),
    "repeat_interleave of numbers": lambda: X.repeat_interleave(X[:, 0].long(), dim=0),
}


@pytest.mark.parametrize("read", READING)
def test_waiting_for_a_number_is_an_error(read):
    with Kernels(), pytest.raises(RuntimeError):  # of some the meta device says so itself
        READING[read]()


def test_a_tensor_left_on_the_host_is_an_error():
    with Kernels(), pytest.raises(RuntimeError, match=r"\[3\] lies on the host"):
        X + torch.ones(3)
    with Kernels() as counted:
        X + torch.tensor(2.0)  # a number, as far as a kernel is concerned
    assert counted.num_kernels == 1


def test_an_optimiser_takes_many_tensors_at_a_time_as_on_a_gpu():
    parameters = [torch.empty(3, device=META, requires_grad=True) for _ in range(9)]
    for parameter in parameters:
        parameter.grad = torch.empty_like(parameter)
    optimiser, counts = torch.optim.SGD(parameters, momentum=0.9), []
    for _ in range(2):  # the first step makes the buffers
        with as_on_a_gpu(), Kernels() as counted:
            optimiser.step()
        counts.append(counted.num_kernels)
    assert counts[1] == 3
