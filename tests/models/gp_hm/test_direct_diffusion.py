"""The symmetric form in √m u, its factor, and the differences that precondition it."""

import numpy as np
import pytest
import torch
from scipy import sparse

from sciml.linalg.preconditioners.incomplete import IncompleteCholesky
from sciml.models.gp_hm import direct_diffusion
from sciml.models.gp_hm.direct_diffusion import (
    SparseFactor,
    SymmetrisedDiffusion,
    difference_preconditioner,
)
from sciml.models.gp_hm.direct_nodal import HarmonicAxis, LobattoAxis

LOG_CONTRAST = 5.0


def coefficients(axes):
    lines = torch.meshgrid(*(axis.nodes for axis in axes), indexing="ij")
    log = LOG_CONTRAST * torch.sin(2.0 * lines[0])
    for line in lines[1:]:
        log = log * torch.cos(1.5 * line)
    weights = torch.ones((), dtype=torch.float64)
    for axis in axes:
        weights = weights[..., None] * axis.weights
    return log.exp(), weights, lines


def form(axes, free):
    """−Δ in √a u with exact gradients of log a, and its preconditioner."""
    a, weights, lines = coefficients(axes)
    drift = []
    for k in range(len(axes)):
        log = LOG_CONTRAST * (
            2.0 * torch.cos(2.0 * lines[0]) if k == 0 else torch.sin(2.0 * lines[0])
        )
        for j, line in enumerate(lines[1:], start=1):
            log = log * (-1.5 * torch.sin(1.5 * line) if j == k else torch.cos(1.5 * line))
        drift.append(0.5 * log)
    potential = torch.zeros_like(a)
    operator = SymmetrisedDiffusion(axes, drift, [weights] * len(axes), potential, free)
    return operator, difference_preconditioner(axes, [a] * len(axes), a.sqrt(), potential, free)


def test_form_in_the_original_variable():
    """z · A w with z = √a v and w = √a u is the integral of a ∇v · ∇u."""
    axes = [LobattoAxis(0.0, 1.0, 36), LobattoAxis(-0.5, 1.2, 33)]
    operator, _ = form(axes, [slice(0, 36), slice(0, 33)])
    a, weights, (x, y) = coefficients(axes)
    u, v = torch.exp(x) * torch.cos(2 * y), torch.sin(3 * x) + y * y
    expected = a * (torch.exp(x) * torch.cos(2 * y) * 3 * torch.cos(3 * x))
    expected = expected - a * 4 * y * torch.exp(x) * torch.sin(2 * y)
    found = float(((a.sqrt() * v) * operator.mv(a.sqrt() * u)).sum())
    assert found == pytest.approx(float((weights * expected).sum()), rel=1e-9)


def test_operator_is_symmetric_and_takes_batches():
    axes = [LobattoAxis(0.0, 1.0, 9), HarmonicAxis(0.0, 2.0, 7)]
    operator, _ = form(axes, [slice(1, 9), slice(0, 7)])
    dense = operator.to_dense()
    torch.testing.assert_close(dense, dense.T, rtol=1e-12, atol=1e-9)
    assert float(torch.linalg.eigvalsh(dense).min()) > 0
    assert operator.T is operator
    generator = torch.Generator().manual_seed(7_104_211)
    x = torch.randn(3, 8, 7, dtype=torch.float64, generator=generator)
    twin = operator.with_tensors(operator.tensors)
    torch.testing.assert_close(twin.mv(x)[1], operator.mv(x[1]), rtol=1e-13, atol=1e-10)


@pytest.mark.parametrize("count", [16, 31])
@pytest.mark.parametrize("kind", ["lobatto", "periodic"])
def test_differences_have_the_spectrum_of_the_form(count, kind):
    """Eigenvalues between about 1 and π²/4 at a contrast of e^10, whatever the nodes."""
    second = LobattoAxis(-0.5, 1.2, count) if kind == "lobatto" else HarmonicAxis(0, 4, count)
    if kind == "periodic":  # cos 1.5 y has the period 4π / 3
        second = HarmonicAxis(0.0, 4.0 * np.pi / 3.0, count)
    axes = [LobattoAxis(0.0, 1.0, count), second]
    inner = slice(1, count - 1) if kind == "lobatto" else slice(0, second.num_nodes)
    operator, preconditioner = form(axes, [slice(1, count - 1), inner])
    product = preconditioner.to_dense() @ operator.to_dense()
    eigenvalues = torch.linalg.eigvals(product)
    assert float(eigenvalues.imag.abs().max()) < 1e-6
    # coarse nodes leave the steepest slopes of log a less than resolved
    assert float(eigenvalues.real.min()) > 0.5
    assert float(eigenvalues.real.max()) < 2.6


def test_factor_solves():
    generator = np.random.default_rng(8_220_553)
    root = sparse.random(12, 12, density=0.3, random_state=generator)
    matrix = root @ root.T + sparse.eye(12)
    factor = SparseFactor(matrix, (3, 4))
    x = torch.from_numpy(generator.standard_normal((2, 3, 4)))
    image = torch.from_numpy(matrix @ x.reshape(2, 12).numpy().T).T.reshape(2, 3, 4)
    torch.testing.assert_close(factor.mv(image), x, rtol=1e-11, atol=1e-12)


def test_large_and_three_dimensional_grids_get_an_incomplete_factor(monkeypatch):
    axes = [LobattoAxis(0.0, 1.0, 8)] * 3
    _, preconditioner = form(axes, [slice(1, 7)] * 3)
    assert isinstance(preconditioner, IncompleteCholesky)
    assert isinstance(form(axes[:2], [slice(1, 7)] * 2)[1], SparseFactor)
    monkeypatch.setattr(direct_diffusion, "LARGEST_FACTORED", 35)
    assert isinstance(form(axes[:2], [slice(1, 7)] * 2)[1], IncompleteCholesky)
