"""Kronecker products: determinants against high precision, and parity with linear_operator."""

import mpmath
import numpy as np
import pytest
import torch
from linear_operator.operators import DenseLinearOperator, KroneckerProductLinearOperator

from sciml import KroneckerOperator
from sciml.linalg.dense import IdentityOperator
from sciml.linalg.kronecker import check_factors, kronecker_product
from sciml.linalg.kronecker_shift import ShiftedKroneckerOperator
from tests.linalg.operators import definite, random, squared_exponential, well_conditioned

DOUBLE = torch.float64


def high_precision_logdet(matrix: torch.Tensor) -> float:
    """Log determinant of the very matrix of float64 numbers, with 60 digits."""
    with mpmath.workdps(60):
        factor = mpmath.cholesky(mpmath.matrix(matrix.tolist()))
        return float(2 * sum(mpmath.log(factor[i, i]) for i in range(factor.rows)))


def external(*factors: torch.Tensor) -> KroneckerProductLinearOperator:
    return KroneckerProductLinearOperator(*map(DenseLinearOperator, factors))


@pytest.mark.parametrize("sizes", [(40, 40), (30, 25), (7, 12, 9)])
def test_logdet_of_squared_exponentials_is_not_clamped(sizes):
    factors = [squared_exponential(n, 0.2 + 0.02 * k, 1e-6) for k, n in enumerate(sizes)]
    total = int(np.prod(sizes))
    exact = sum(
        total // n * high_precision_logdet(f) for n, f in zip(sizes, factors, strict=True)
    )
    got = float(KroneckerOperator(factors, positive_definite=True).logdet())
    assert abs(got / exact - 1) < 1e-10
    by_lu = float(KroneckerOperator(factors).logdet())
    assert abs(by_lu / exact - 1) < 1e-10


def test_logdet_keeps_the_promised_error_when_conditioned_worse():
    size, jitter = 30, 1e-10
    factor = squared_exponential(size, 0.2, jitter)
    got = float(KroneckerOperator([factor, factor], positive_definite=True).logdet())
    promised = 2 * size**2 * size * 2.2e-16 * float(torch.linalg.cond(factor))
    error = abs(got - 2 * size * high_precision_logdet(factor))
    assert error < promised
    assert error < 1e-6 * abs(got)


def test_logdet_gradient_is_the_inverse():
    factors = [definite(4, DOUBLE), well_conditioned(3, DOUBLE)]
    tensors = [f.clone().requires_grad_() for f in factors]
    KroneckerOperator(tensors).logdet().backward()
    for tensor, power in zip(tensors, (3, 4), strict=True):
        torch.testing.assert_close(tensor.grad, power * torch.linalg.inv(tensor.detach()).T)
    assert torch.autograd.gradcheck(
        lambda a: KroneckerOperator(
            [a @ a.T, definite(2, DOUBLE)], positive_definite=True
        ).logdet(),
        factors[1].clone().requires_grad_(),
    )


@pytest.mark.parametrize("dtype", [torch.float32, DOUBLE])
def test_parity_with_linear_operator(dtype):
    factors = [definite(5, dtype), definite(3, dtype), definite(4, dtype)]
    ours, theirs = KroneckerOperator(factors, positive_definite=True), external(*factors)
    x = random(2, 5, 3, 4, dtype=dtype)
    columns = x.reshape(2, -1).T
    tolerance = {"rtol": 1e-4, "atol": 1e-4} if dtype is torch.float32 else {}
    torch.testing.assert_close((ours @ x).reshape(2, -1).T, theirs @ columns, **tolerance)
    torch.testing.assert_close(
        ours.solve(x).reshape(2, -1).T, theirs.solve(columns), **tolerance
    )
    torch.testing.assert_close(ours.logdet(), theirs.logdet(), **tolerance)
    torch.testing.assert_close(ours.diagonal().flatten(), theirs.diagonal(), **tolerance)
    torch.testing.assert_close(ours.to_dense(), theirs.to_dense(), **tolerance)


def test_batched_determinant_trace_and_factorisations():
    first = torch.stack([definite(4, DOUBLE), 3 * definite(4, DOUBLE)])[:, None]
    operator = KroneckerOperator([first, definite(3, DOUBLE)], positive_definite=True)
    dense = operator.to_dense()
    assert dense.shape == (2, 1, 12, 12)
    torch.testing.assert_close(operator.logdet(), torch.logdet(dense))
    torch.testing.assert_close(operator.trace(), torch.einsum("...ii", dense))
    root = operator.cholesky().to_dense()
    torch.testing.assert_close(root @ root.mT, dense)
    assert bool((root.triu(1) == 0).all())
    eigenvalues, vectors = operator.eigh()
    q = vectors.to_dense()
    torch.testing.assert_close(q @ (eigenvalues.reshape(2, 1, 12, 1) * q.mT), dense)
    assert operator.logdet().shape == (2, 1)


def test_samples_have_the_covariance():
    operator = KroneckerOperator(
        [definite(2, DOUBLE), definite(3, DOUBLE)], positive_definite=True
    )
    generator = torch.Generator().manual_seed(902311)
    draws = operator.sample(200_000, generator=generator).reshape(-1, 6)
    covariance = draws.T @ draws / len(draws)
    torch.testing.assert_close(covariance, operator.to_dense(), rtol=0, atol=0.05)


def test_solve_of_ill_conditioned_factors_has_a_small_residual():
    factors = [squared_exponential(20, 0.3, 1e-6), squared_exponential(13, 0.2, 1e-6)]
    operator = KroneckerOperator(factors, positive_definite=True)
    b = operator @ random(20, 13, dtype=DOUBLE)
    residual = operator @ operator.solve(b) - b
    assert float(residual.norm() / b.norm()) < 1e-9


def test_cheapest_order_of_rectangular_factors():
    """The order contracts first what shrinks most; any order gives the same field."""
    factors = [random(9, 2, dtype=DOUBLE), random(2, 9, dtype=DOUBLE)]
    x = random(2, 9, dtype=DOUBLE)
    expected = torch.einsum("ai,bj,ij->ab", *factors, x)
    torch.testing.assert_close(kronecker_product(factors, x), expected)


class TestShifted:
    def operator(self, *sizes: int, shift: float = 0.3) -> ShiftedKroneckerOperator:
        factors = [definite(n, DOUBLE) for n in sizes]
        identity = IdentityOperator(sizes, dtype=DOUBLE)
        shifted = KroneckerOperator(factors, positive_definite=True) + shift * identity
        assert isinstance(shifted, ShiftedKroneckerOperator)
        return shifted

    @pytest.mark.parametrize("sizes", [(6,), (4, 3), (2, 3, 4)])
    def test_logdet_and_its_gradient(self, sizes):
        operator = self.operator(*sizes)
        torch.testing.assert_close(operator.logdet(), torch.logdet(operator.to_dense()))

        def logdet(*tensors):
            symmetric = [0.5 * (t + t.mT) if t.ndim == 2 else t for t in tensors]
            return operator.with_tensors(symmetric).logdet()

        tracked = [t.clone().requires_grad_() for t in operator.tensors]
        assert torch.autograd.gradcheck(logdet, tracked)

    def test_batched_logdet_gradient(self):
        factor = torch.stack([definite(3, DOUBLE), 2 * definite(3, DOUBLE)])
        shift = torch.tensor(0.4, dtype=DOUBLE)

        def logdet(a, b, s):
            return ShiftedKroneckerOperator([0.5 * (a + a.mT), 0.5 * (b + b.mT)], s).logdet()

        tracked = [t.clone().requires_grad_() for t in (factor, definite(2, DOUBLE), shift)]
        assert torch.autograd.gradcheck(logdet, tracked)

    def test_repeated_eigenvalues_have_finite_gradients(self):
        factor = torch.eye(4, dtype=DOUBLE, requires_grad=True)
        operator = ShiftedKroneckerOperator([factor, factor], torch.tensor(1.0, dtype=DOUBLE))
        (operator.logdet() + operator.solve(random(4, 4, dtype=DOUBLE)).sum()).backward()
        assert bool(factor.grad.isfinite().all())

    def test_identity_itself_and_other_sums(self):
        product = KroneckerOperator([definite(3, DOUBLE)], positive_definite=True)
        plus_one = IdentityOperator((3,), dtype=DOUBLE) + product
        assert isinstance(plus_one, ShiftedKroneckerOperator)
        expected = product.to_dense() + torch.eye(3, dtype=DOUBLE)
        torch.testing.assert_close(plus_one.to_dense(), expected)
        general = KroneckerOperator([definite(3, DOUBLE)]) + IdentityOperator(
            (3,), dtype=DOUBLE
        )
        assert not isinstance(general, ShiftedKroneckerOperator)

    @pytest.mark.parametrize("sizes", [(5,), (4, 3)])
    def test_negative_shift_is_indefinite(self, sizes):
        operator = self.operator(*sizes, shift=-1.71)
        dense = operator.to_dense()
        eigenvalues = torch.linalg.eigvalsh(dense)
        assert float(eigenvalues.min()) < -0.1 < 0.1 < float(eigenvalues.max())
        assert operator.symmetric
        assert not operator.positive_definite
        b = random(2, *sizes, dtype=DOUBLE)
        expected = torch.linalg.solve(dense, b.reshape(2, -1).T).T.reshape(b.shape)
        torch.testing.assert_close(operator.solve(b), expected)
        if float(torch.linalg.det(dense)) > 0:
            torch.testing.assert_close(operator.logdet(), torch.logdet(dense))
        else:
            with pytest.raises(ValueError, match="expected a positive determinant, got a neg"):
                operator.logdet()

    def test_subtracted_identity_keeps_the_structure(self):
        product = KroneckerOperator([definite(3, DOUBLE)], positive_definite=True)
        identity = IdentityOperator((3,), dtype=DOUBLE)
        difference = product - 2.0 * (0.25 * identity)
        assert isinstance(difference, ShiftedKroneckerOperator)
        expected = product.to_dense() - 0.5 * torch.eye(3, dtype=DOUBLE)
        torch.testing.assert_close(difference.to_dense(), expected)

    def test_shift_onto_an_eigenvalue_is_refused(self):
        eigenvalue = float(torch.linalg.eigvalsh(self.operator(3, 2, shift=0.0).to_dense())[2])
        with pytest.raises(ValueError, match="solve: expected no zero eigenvalue, got one of"):
            self.operator(3, 2, shift=-eigenvalue).solve(random(3, 2, dtype=DOUBLE))

    def test_factors_that_are_not_semi_definite_are_refused(self):
        factors = [torch.diag(torch.tensor([1.0, -2.0], dtype=DOUBLE))]
        operator = ShiftedKroneckerOperator(factors, torch.tensor(0.5, dtype=DOUBLE))
        with pytest.raises(ValueError, match=r"expected positive eigenvalues, got -1\.5"):
            operator.logdet()


@pytest.mark.parametrize("definite_promised", [True, False])
@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_entries_that_are_not_finite_are_named(value, definite_promised):
    bad = definite(3, DOUBLE)
    bad[1, 0] = value
    operator = KroneckerOperator(
        [definite(2, DOUBLE), bad], positive_definite=definite_promised
    )
    message = "factor 1 of 2: expected finite entries, got 1 NaN or infinite"
    with pytest.raises(ValueError, match="logdet: " + message):
        operator.logdet()
    with pytest.raises(ValueError, match="eigh: " + message):
        operator.eigh()
    if definite_promised:
        with pytest.raises(ValueError, match="solve: " + message):
            operator.solve(torch.ones(2, 3, dtype=DOUBLE))


@pytest.mark.parametrize("sizes", [(5,), (3, 4), (2, 3, 2)])
def test_inverse_quadratic_form(sizes):
    operator = KroneckerOperator([definite(n, DOUBLE) for n in sizes], positive_definite=True)
    x = random(2, *sizes, dtype=DOUBLE)
    flat = x.reshape(2, -1)
    expected = (flat * torch.linalg.solve(operator.to_dense(), flat.T).T).sum(-1)
    torch.testing.assert_close(operator.inverse_quadratic_form(x), expected)


def test_bad_factors_are_named():
    eye = torch.eye(3, dtype=DOUBLE)
    with pytest.raises(TypeError, match="expected tensors, got factor 1 of type ndarray"):
        check_factors("KroneckerOperator", [eye, eye.numpy()])
    with pytest.raises(ValueError, match=r"batch shapes that broadcast, got \(2,\), \(5,\)"):
        KroneckerOperator([eye.expand(2, 3, 3), eye.expand(5, 3, 3)])
    with pytest.raises(ValueError, match="expected at least one factor, got none"):
        KroneckerOperator([])
    with pytest.raises(ValueError, match=r"got factor 1 of shape \(3,\)"):
        KroneckerOperator([eye, eye[0]])
    with pytest.raises(TypeError, match="one real floating-point dtype and one device"):
        KroneckerOperator([eye, eye.float()])
    with pytest.raises(TypeError, match="one real floating-point dtype and one device"):
        KroneckerOperator([eye.long()])
    with pytest.raises(ValueError, match=r"solve: expected square factors, got factor 0"):
        KroneckerOperator([eye[:2]]).solve(torch.zeros(2, dtype=DOUBLE))
    indefinite = torch.diag(torch.tensor([1.0, -0.25, 2.0], dtype=DOUBLE))
    with pytest.raises(
        ValueError,
        match=r"factor 1 of 2: expected a positive definite matrix, "
        r"got smallest eigenvalue -0\.25",
    ):
        KroneckerOperator([eye, indefinite], positive_definite=True).logdet()
    with pytest.raises(ValueError, match="expected a positive determinant, got one of sign -1"):
        KroneckerOperator([indefinite]).logdet()
    # an even number of negative factors is fine
    assert float(KroneckerOperator([indefinite, eye[:2, :2]]).logdet()) == pytest.approx(
        2 * np.log(0.5)
    )
    singular = torch.zeros(2, 2, dtype=DOUBLE)
    with pytest.raises(ValueError, match="factor 0 of 1: expected an invertible matrix"):
        KroneckerOperator([singular]).solve(torch.ones(2, dtype=DOUBLE))


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
@pytest.mark.parametrize("shape", [(7,), (6, 5), (4, 3, 5)])
def test_cuda_agrees(shape):
    factors = [definite(n, DOUBLE) for n in shape]
    host = KroneckerOperator(factors, positive_definite=True)
    device = host.with_tensors([f.cuda() for f in factors])
    x = random(2, *shape, dtype=DOUBLE)
    torch.testing.assert_close((device @ x.cuda()).cpu(), host @ x)
    torch.testing.assert_close(device.solve(x.cuda()).cpu(), host.solve(x))
    torch.testing.assert_close(device.logdet().cpu(), host.logdet())
