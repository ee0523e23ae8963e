import pytest
import torch

from tests.devices import HostReads, without_waiting


@pytest.mark.parametrize(
    "wait",
    [
        lambda u: bool((u > 0).any()),
        lambda u: u.sum().item(),
        lambda u: u[u > 0],
        lambda u: (u > 0).nonzero(),
        lambda u: torch.equal(u, u),
    ],
)
def test_reading_values_counts(wait):
    with HostReads() as reads:
        wait(torch.arange(3.0))
    assert reads.operations


@pytest.mark.parametrize("wait", [lambda u: u.sum().item(), lambda u: torch.ones(3).to(u)])
def test_the_stand_in_refuses_what_would_wait(wait):
    with pytest.raises((AssertionError, RuntimeError)), without_waiting("meta"):
        wait(torch.zeros(3, device="meta"))


def test_work_on_the_device_does_not_count():
    u = torch.zeros(3, device="meta")
    with without_waiting("meta"):
        v = torch.where(u > 0, u, 0.0) * torch.arange(3, device="meta")
        v[0] = 1.0
        v.to(torch.float64).sum()
