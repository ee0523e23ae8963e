"""The pressure operator: products, matrices, null space, velocities, refusals."""

import itertools

import numpy as np
import pytest
import scipy.sparse.linalg
import torch

from sciml.linalg.poisson import PoissonOperator
from sciml.simulate.geometry import make_flags, reference_box, smooth_coefficients
from tests.devices import CUDA
from tests.linalg.operators import random

DOUBLE = torch.float64
SEED = 71993
SHAPES = [(17, 20), (9, 1), (6, 7, 9), (2, 5, 1)]
KINDS = ["box", "random", "freesurf", "opentop", "thin"]
WEIGHTS = ["plain", "spacing", "coefficients", "fractions"]


def flags_of(kind, shape):
    flags = make_flags(kind, shape, seed=SEED)
    if (flags == 2).any():
        flags.flat[np.flatnonzero(flags == 1)[::2]] = 0  # both numbers for solid
        return flags
    return np.full(shape, 2, np.uint8)


def fractions_of(shape):
    stream = np.random.default_rng(SEED)
    shapes = [[n + (k == axis) for k, n in enumerate(shape)] for axis in range(len(shape))]
    return [np.clip(stream.uniform(-0.3, 1.3, size), 0, 1) for size in shapes]


def make(kind, shape, weights, dtype=DOUBLE):
    spacing = (0.5, 2.0, 1.25)[: len(shape)] if weights != "plain" else 1.0
    options = {}
    if weights in ("coefficients", "fractions"):
        options["coefficients"] = smooth_coefficients("logn", shape, contrast=50, seed=SEED)
    if weights == "fractions":
        options["face_fraction"] = fractions_of(shape)
    return PoissonOperator(flags_of(kind, shape), spacing, dtype=dtype, **options)


def by_loops(operator):
    """The matrix, face by face."""
    flags = operator.flags.numpy()
    shape = flags.shape
    kappa = np.ones(shape) if operator.coefficients is None else operator.coefficients.numpy()
    numbers = np.arange(flags.size).reshape(shape)
    matrix = np.zeros((flags.size, flags.size))
    for cell in itertools.product(*map(range, shape)):
        if flags[cell] != 2:
            continue
        for axis, step in itertools.product(range(len(shape)), (-1, 1)):
            other = list(cell)
            other[axis] += step
            other = tuple(other)
            if not 0 <= other[axis] < shape[axis] or flags[other] < 2:
                continue
            face = list(cell)
            face[axis] += step == 1
            area = 1.0
            if operator.face_fraction is not None:
                area = float(operator.face_fraction[axis][tuple(face)])
            weight = area / operator.spacing[axis] ** 2
            if flags[other] == 2:
                weight *= 2 * kappa[cell] * kappa[other] / (kappa[cell] + kappa[other])
                matrix[numbers[cell], numbers[other]] -= weight
            else:
                weight *= kappa[cell]
            matrix[numbers[cell], numbers[cell]] += weight
    return matrix


@pytest.mark.parametrize("weights", WEIGHTS)
@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("kind", KINDS)
def test_products_and_matrix_equal_loops_over_faces(kind, shape, weights):
    operator = make(kind, shape, weights)
    expected = by_loops(operator)
    matrix = operator.to_csr()
    assert (matrix != matrix.T).nnz == 0
    np.testing.assert_allclose(matrix.toarray(), expected, rtol=1e-13, atol=1e-13)
    assert (np.diff(matrix.indptr)[operator.flags.numpy().ravel() != 2] == 0).all()
    x = random(2, 3, *shape, dtype=DOUBLE)
    image = (x.reshape(6, -1).numpy() @ expected).reshape(x.shape)
    scale = float(np.abs(expected).max()) + 1
    np.testing.assert_allclose(operator.mv(x).numpy() / scale, image / scale, atol=1e-13)
    np.testing.assert_array_equal(operator.mv(x)[1, 2], operator.mv(x[1, 2]))
    diagonal = operator.diagonal().flatten().numpy()
    np.testing.assert_allclose(diagonal, expected.diagonal(), rtol=1e-13)


@pytest.mark.parametrize("weights", WEIGHTS)
@pytest.mark.parametrize("shape", [(11, 14), (6, 5, 7)])
@pytest.mark.parametrize("kind", KINDS)
def test_semi_definite_with_the_null_space_that_it_names(kind, shape, weights):
    operator = make(kind, shape, weights)
    dense = operator.to_dense()
    eigenvalues = torch.linalg.eigvalsh(dense)
    basis = operator.null_space()
    tolerance = 1e-12 * float(eigenvalues.max())
    assert float(eigenvalues.min()) > -tolerance
    assert int((eigenvalues < tolerance).sum()) == len(basis)
    rows = basis.flatten(1)
    torch.testing.assert_close(rows @ rows.T, torch.eye(len(rows), dtype=DOUBLE))
    assert float((dense @ rows.T).abs().max()) < tolerance
    b = random(3, *shape, dtype=DOUBLE)
    flat = b.flatten(1)
    expected = (flat - (flat @ rows.T) @ rows).reshape(b.shape)
    torch.testing.assert_close(operator.project(b), expected)


def test_row_sums_are_the_links_to_air():
    operator = make("freesurf", (14, 15), "coefficients")
    ones = operator.fluid.to(DOUBLE)
    sums = operator.mv(ones)
    links = torch.zeros_like(sums)
    air = operator.flags == 3
    for axis, weight in enumerate(operator.face_weights):
        inner = weight.narrow(axis, 1, operator.in_shape[axis] - 1)
        size = inner.shape[axis]
        links.narrow(axis, 0, size).add_(inner * air.narrow(axis, 1, size))
        links.narrow(axis, 1, size).add_(inner * air.narrow(axis, 0, size))
    torch.testing.assert_close(sums, links * ones, atol=1e-12, rtol=0)
    assert float(links.max()) > 0


def test_faces_of_solids_and_of_the_rim_are_closed():
    operator = make("random", (13, 16), "fractions")
    solid = torch.nn.functional.pad(operator.flags < 2, (1, 1, 1, 1), value=True)
    first, second = operator.face_weights
    assert first.shape == (14, 16)
    assert second.shape == (13, 17)
    assert not first[solid[:-1, 1:-1] | solid[1:, 1:-1]].any()
    assert not second[solid[1:-1, :-1] | solid[1:-1, 1:]].any()
    assert first.sum() > 0


@pytest.mark.parametrize("batch", [(), (1,), (2, 3)])
@pytest.mark.parametrize("weights", WEIGHTS)
@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("kind", KINDS)
def test_minus_divergence_of_gradient(kind, shape, weights, batch):
    operator = make(kind, shape, weights)
    p = random(*batch, *shape, dtype=DOUBLE)
    gradient = operator.gradient(p)
    scale = float(operator.diagonal().max()) + 1
    torch.testing.assert_close(
        -operator.divergence(gradient) / scale, operator.mv(p) / scale, rtol=0, atol=1e-13
    )
    for k, (face, weight) in enumerate(zip(gradient, operator.face_weights, strict=True)):
        assert face.shape == (*batch, *(n + (axis == k) for axis, n in enumerate(shape)))
        assert not face[..., weight == 0].any()


@pytest.mark.parametrize("kind", KINDS)
def test_divergence_is_minus_the_adjoint_of_the_gradient(kind):
    """On velocities that respect the walls, with the open areas as weights of faces."""
    operator = PoissonOperator(
        flags_of(kind, (7, 6, 5)), (0.5, 1.0, 2.0), face_fraction=fractions_of((7, 6, 5))
    )
    p = random(7, 6, 5, dtype=DOUBLE)
    velocity = [
        random(*weight.shape, dtype=DOUBLE, seed=5550123) * (weight > 0)
        for weight in operator.face_weights
    ]
    gradient = operator.gradient(p)
    areas = [
        a * (w > 0) for a, w in zip(operator.face_fraction, operator.face_weights, strict=True)
    ]
    right = sum((a * u * g).sum() for a, u, g in zip(areas, velocity, gradient, strict=True))
    left = (operator.divergence(velocity) * p).sum()
    torch.testing.assert_close(left, -right)


@pytest.mark.parametrize("weights", WEIGHTS)
def test_projection_of_a_velocity_has_no_divergence(weights):
    operator = make("random", (9, 10), weights)
    velocity = [random(*w.shape, dtype=DOUBLE) * (w > 0) for w in operator.face_weights]
    p = -torch.linalg.pinv(operator.to_dense()) @ operator.divergence(velocity).flatten()
    gradient = operator.gradient(p.reshape(9, 10))
    free = [u - g for u, g in zip(velocity, gradient, strict=True)]
    assert float(operator.divergence(velocity).abs().max()) > 0.1
    assert float(operator.divergence(free).abs().max()) < 1e-10


def test_walls_count_in_full_in_a_divergence():
    """A moving wall and an inflow through the rim, whatever the fractions say there."""
    flags = np.array([[2, 1, 2], [2, 2, 2]], np.uint8)
    operator = PoissonOperator(
        flags, 0.5, face_fraction=[np.full((3, 3), 0.25), np.full((2, 4), 0.25)]
    )
    u, v = torch.zeros(3, 3, dtype=DOUBLE), torch.zeros(2, 4, dtype=DOUBLE)
    u[0, 0], v[0, 1], v[1, 1] = 3.0, 7.0, 11.0
    expected = torch.tensor([[7.0 - 3.0, 0, 0], [0.25 * 11, -0.25 * 11, 0]], dtype=DOUBLE) / 0.5
    torch.testing.assert_close(operator.divergence([u, v]), expected)


def eigenvalues_of(shape):
    """Count of unknowns, the least five and the greatest eigenvalue of a reference matrix."""
    flags, fractions = reference_box(shape)
    operator = PoissonOperator(flags, face_fraction=fractions)
    matrix = operator.to_csr()
    unknowns = np.flatnonzero(np.diff(matrix.indptr))
    inner = matrix[unknowns][:, unknowns].tocsc()
    start = np.random.default_rng(SEED).standard_normal(len(unknowns))
    low = scipy.sparse.linalg.eigsh(inner, 5, sigma=-1e-3, v0=start)[0]
    high = scipy.sparse.linalg.eigsh(inner, 1, which="LA", v0=start, tol=1e-11)[0]
    return operator, len(unknowns), np.sort(low), high[0]


def test_reference_matrix_in_two_dimensions():
    operator, count, low, high = eigenvalues_of((64, 64))
    assert count == 4092
    assert abs(low[0]) < 1e-10
    np.testing.assert_allclose(low[1:3], 2.33659211e-3, rtol=1e-8)
    assert low[3] > 1.5 * low[2]
    assert high == pytest.approx(7.995079886, abs=1e-8)
    assert not operator.mv(operator.fluid.to(DOUBLE)).any()  # all row sums are zero


def test_reference_matrix_in_three_dimensions():
    operator, count, low, high = eigenvalues_of((16, 16, 16))
    assert count == 3920
    np.testing.assert_allclose(low[1:4], 3.10790484e-2, rtol=1e-8)
    assert low[4] > 1.5 * low[3]
    assert high == pytest.approx(11.872, abs=5e-4)
    diagonal = operator.diagonal()
    assert int((diagonal == 1).sum()) == 6 * 14**2
    assert int((diagonal == 6).sum()) == 14**3


def test_reference_counts_at_full_size():
    flags, fractions = reference_box((64, 64, 64))
    diagonal = PoissonOperator(flags, face_fraction=fractions).diagonal()
    counts = [int((diagonal == value).sum()) for value in (0, 1, 6)]
    assert counts == [752, 23_064, 238_328]


@pytest.mark.parametrize("weights", WEIGHTS)
def test_single_precision_agrees(weights):
    double, single = (make("freesurf", (9, 14), weights, t) for t in (DOUBLE, torch.float32))
    x = random(3, 9, 14, dtype=DOUBLE)
    scale = float(double.diagonal().max())
    for function in (PoissonOperator.mv, PoissonOperator.project):
        result = function(single, x.float())
        assert result.dtype == torch.float32
        torch.testing.assert_close(
            result.double() / scale, function(double, x) / scale, rtol=0, atol=1e-6
        )


@pytest.mark.parametrize("weights", [False, True])
def test_batch_of_geometries_equals_one_by_one(weights):
    flags = np.stack([flags_of(kind, (8, 9)) for kind in ("thin", "box", "freesurf", "random")])
    flags = flags.reshape(2, 2, 8, 9)
    options = {}
    if weights:
        options["coefficients"] = 1 + random(2, 2, 8, 9, dtype=DOUBLE).abs()
        options["face_fraction"] = [
            random(2, 2, 9, 9, dtype=DOUBLE).sigmoid(),
            random(2, 2, 8, 10, dtype=DOUBLE).sigmoid(),
        ]
    batch = PoissonOperator(flags, 0.5, num_axes=2, **options)
    assert batch.batch_shape == (2, 2)
    x, shared = random(3, 2, 2, 8, 9, dtype=DOUBLE), random(8, 9, dtype=DOUBLE)
    image, gradient = batch.mv(x), batch.gradient(x)
    for i, j in itertools.product(range(2), range(2)):
        own = {
            name: value[i, j] if isinstance(value, torch.Tensor) else [a[i, j] for a in value]
            for name, value in options.items()
        }
        one = PoissonOperator(flags[i, j], 0.5, **own)
        torch.testing.assert_close(image[:, i, j], one.mv(x[:, i, j]))
        torch.testing.assert_close(batch.mv(shared)[i, j], one.mv(shared))
        torch.testing.assert_close(batch.project(x)[:, i, j], one.project(x[:, i, j]))
        torch.testing.assert_close(gradient[1][:, i, j], one.gradient(x[:, i, j])[1])
        torch.testing.assert_close(batch.diagonal()[i, j], one.diagonal())
        found = batch.components[i, j]
        found = torch.where(found < 0, -1, found - found[found >= 0].min())
        torch.testing.assert_close(found, one.components)
    torch.testing.assert_close(batch.divergence(gradient), -image)
    with pytest.raises(ValueError, match="to_csr: expected one geometry, got a batch"):
        batch.to_csr()
    with pytest.raises(ValueError, match="null_space: expected one geometry"):
        batch.null_space()


def test_gradients_reach_coefficients_and_fractions():
    flags = flags_of("freesurf", (4, 5))
    kappa = (1 + random(4, 5, dtype=DOUBLE).abs()).requires_grad_()
    fractions = [
        random(5, 5, dtype=DOUBLE).sigmoid().requires_grad_(),
        random(4, 6, dtype=DOUBLE).sigmoid().requires_grad_(),
    ]
    x = random(4, 5, dtype=DOUBLE).requires_grad_()

    def product(x, kappa, *fractions):
        operator = PoissonOperator(flags, 0.5, coefficients=kappa, face_fraction=fractions)
        return operator.mv(x), operator.divergence(operator.gradient(x))

    assert torch.autograd.gradcheck(product, (x, kappa, *fractions))


def test_fingerprint_tells_geometries_and_weights_apart():
    flags = flags_of("random", (12, 9))
    kappa = smooth_coefficients("logn", (12, 9), seed=SEED)
    own = PoissonOperator(flags).fingerprint
    assert PoissonOperator(torch.from_numpy(flags).long()).fingerprint == own
    assert PoissonOperator(flags, dtype=torch.float32).fingerprint == own
    changed = flags.copy()
    changed[0, 0] = 3 - changed[0, 0]
    weighted = PoissonOperator(flags, coefficients=kappa)
    others = {
        PoissonOperator(changed).fingerprint,
        PoissonOperator(flags.reshape(9, 12)).fingerprint,
        PoissonOperator(flags, 0.5).fingerprint,
        PoissonOperator(flags, (1.0, 0.5)).fingerprint,
        weighted.fingerprint,
        weighted.with_tensors([2 * weighted.coefficients]).fingerprint,
        own,
    }
    assert len(others) == 7
    assert weighted.with_tensors(weighted.tensors).fingerprint == weighted.fingerprint


def test_the_operator_keeps_its_own_flags():
    flags = flags_of("random", (12, 9))
    operator = PoissonOperator(flags)
    before = operator.diagonal()
    flags[:] = 2
    torch.testing.assert_close(operator.diagonal(), before)


def test_uniform_or_not():
    flags = flags_of("box", (4, 5))
    assert PoissonOperator(flags, 0.25).is_uniform
    assert PoissonOperator(flags, (0.25, 0.25)).is_uniform
    assert not PoissonOperator(flags, (0.25, 0.5)).is_uniform
    assert not PoissonOperator(flags, coefficients=np.ones((4, 5))).is_uniform
    assert not PoissonOperator(flags, face_fraction=fractions_of((4, 5))).is_uniform


@CUDA[0]
@CUDA[1]
@pytest.mark.parametrize("weights", WEIGHTS)
@pytest.mark.parametrize("kind", KINDS)
def test_cuda_agrees(kind, weights):
    host = make(kind, (33, 20, 17), weights)
    there = PoissonOperator(
        host.flags.cuda(),
        host.spacing,
        coefficients=None if host.coefficients is None else host.coefficients.cuda(),
        face_fraction=host.face_fraction and [a.cuda() for a in host.face_fraction],
    )
    assert there.device.type == "cuda"
    x = random(3, 33, 20, 17, dtype=DOUBLE)
    for function in (PoissonOperator.mv, PoissonOperator.project):
        torch.testing.assert_close(function(there, x.cuda()).cpu(), function(host, x))
    torch.testing.assert_close(
        there.divergence(there.gradient(x.cuda())).cpu(), -host.mv(x), atol=1e-9, rtol=1e-9
    )
    assert there.fingerprint == host.fingerprint
    torch.testing.assert_close(there.components.cpu(), host.components)
    with pytest.raises(TypeError, match="expected coefficients on cpu"):
        PoissonOperator(host.flags, coefficients=x[0].abs().cuda() + 1)
