"""The published objective: golden values, and dense covariance matrices in 2-D and 3-D."""

import itertools

import numpy as np
import pytest
import torch

from sciml.models.gp_hm.adam_state import GridState, initial_state
from sciml.models.gp_hm.assembly import cross_matrix
from sciml.models.gp_hm.kernels import GM, KERNELS, STM, MixtureParameters
from sciml.models.gp_hm.objective import Face, LogJoint
from tests.golden import golden

GOLDEN_NAMES = {"stm": "matern52_cos", "gm": "se_cos", "matern": "matern52", "se": "se"}
PROBLEMS = ["poisson_1d-sin_cos", "allencahn_1d-sin_cos"]
STATE_KEYS = [
    "kernel_paras.log-w",
    "kernel_paras.log-ls",
    "kernel_paras.freq",
    "u",
    "log_tau",
    "log_v",
]
CASES = list(itertools.product(PROBLEMS, KERNELS))


def tensor(array):
    return torch.from_numpy(np.array(array, dtype=np.float64))


def relative(value, reference):
    reference = tensor(reference).reshape(value.shape)
    return float((value.detach() - reference).abs().max() / reference.abs().max())


def golden_objective(archive, problem, kernel):
    nodes, source = tensor(archive[f"{problem}__X"])[:, 0], tensor(archive[f"{problem}__src"])
    low, high = tensor(archive[f"{problem}__y"])

    def residual(fields):
        u = fields[0,]
        reaction = u * (u**2 - 1) if problem.startswith("allencahn") else 0.0
        return fields[2,] + reaction - source

    faces = [Face(0, 0, low), Face(0, -1, high)]
    return LogJoint(KERNELS[kernel], [nodes], faces, residual, [(2,)])


def golden_state(archive, key):
    read = [tensor(archive[f"{key}__param.{name}"]) for name in STATE_KEYS]
    for values in read:
        values.squeeze_(-1) if values.ndim == 2 else values
    state = GridState((MixtureParameters(*read[:3]),), *read[3:])
    for leaf in state.tensors:
        leaf.requires_grad_()
    return state


@pytest.mark.parametrize(("problem", "kernel"), CASES)
def test_loss_gradients_and_predictions_are_the_published_ones(problem, kernel):
    archive = golden("gp_hm_objective_1d.npz")
    key = f"{problem}__{GOLDEN_NAMES[kernel]}"
    # fourteen nodes of a smooth kernel without cosine are badly conditioned
    tolerance = 1e-10 if KERNELS[kernel].oscillating else 1e-8
    objective, state = (
        golden_objective(archive, problem, kernel),
        golden_state(archive, key),
    )
    terms = objective.terms(state)
    assert relative(terms.loss, archive[f"{key}__loss"]) < 1e-10
    assert relative(terms.log_determinant, archive[f"{key}__logdet"]) < 1e-10
    assert relative(terms.boundary_gap, archive[f"{key}__boundary_gap"]) < 1e-10
    assert relative(terms.quadratic_form, archive[f"{key}__quad"]) < tolerance
    assert relative(terms.equation_gap, archive[f"{key}__eq_gap"]) < tolerance
    assert relative(objective.weights(state), archive[f"{key}__Kinv_u"]) < tolerance
    assert relative(objective.fields(state)[2,], archive[f"{key}__u_xx"]) < tolerance
    points = tensor(archive[f"{problem}__Xte"])[:, 0]
    cross = cross_matrix(KERNELS[kernel], state.mixtures[0], points, objective.nodes[0])
    assert relative(cross @ objective.weights(state), archive[f"{key}__preds"]) < tolerance
    gradients = torch.autograd.grad(terms.loss, state.tensors, allow_unused=True)
    for name, gradient in zip(STATE_KEYS, gradients, strict=True):
        if gradient is None:
            assert name.endswith("freq")
            assert not KERNELS[kernel].oscillating
        else:
            assert relative(gradient, archive[f"{key}__grad.{name}"]) < tolerance, name


@pytest.mark.parametrize(("problem", "kernel"), CASES)
def test_twenty_adam_steps_are_the_published_ones(problem, kernel):
    archive = golden("gp_hm_objective_1d.npz")
    key = f"{problem}__{GOLDEN_NAMES[kernel]}__adam20"
    objective, state = (
        golden_objective(archive, problem, kernel),
        initial_state([14], 6, 20.0),
    )
    for leaf in state.tensors:
        leaf.requires_grad_()
    optimizer = torch.optim.Adam(state.tensors, lr=0.01)
    losses = []
    for _ in range(20):
        optimizer.zero_grad()
        loss = objective.terms(state).loss
        loss.backward()
        optimizer.step()
        losses.append(loss.detach())
    assert relative(torch.stack(losses), archive[f"{key}.losses"]) < 1e-10
    tolerance = 1e-10 if KERNELS[kernel].oscillating else 1e-8
    for name, leaf in zip(STATE_KEYS, state.tensors, strict=True):
        assert relative(leaf, archive[f"{key}.{name}"]) < tolerance, name


def random_state(resolution, num_components, seed):
    generator = torch.Generator().manual_seed(seed)

    def draw(*shape):
        return torch.randn(shape, generator=generator, dtype=torch.float64)

    mixtures = tuple(
        MixtureParameters(
            0.3 * draw(num_components), 2.5 + 0.3 * draw(num_components), draw(num_components)
        )
        for _ in resolution
    )
    return GridState(mixtures, draw(*resolution), draw(), draw())


def kronecker(matrices):
    product = matrices[0]
    for matrix in matrices[1:]:
        product = torch.kron(product, matrix)
    return product


@pytest.mark.parametrize("kernel", [STM, GM], ids=lambda kernel: kernel.name)
@pytest.mark.parametrize(
    ("resolution", "needs"),
    [
        ((7, 5), [(2, 0), (0, 2)]),
        ((5, 6), [(1, 0), (0, 1), (1, 1)]),
        ((4, 3, 5), [(2, 0, 0), (0, 2, 0), (0, 1, 1)]),
    ],
)
def test_kronecker_objective_equals_dense_matrices(kernel, resolution, needs):
    d, size = len(resolution), int(np.prod(resolution))
    nodes = [
        torch.linspace(0, 1 - 0.2 * k, n, dtype=torch.float64) for k, n in enumerate(resolution)
    ]
    state = random_state(resolution, 3, 905_113)
    generator = torch.Generator().manual_seed(77_003)
    source = torch.randn(resolution, generator=generator, dtype=torch.float64)
    faces = [
        Face(axis, side, source.select(axis, side) / 3) for axis in range(d) for side in (0, -1)
    ]

    def residual(fields):
        return sum(fields[index] for index in needs) * fields[(0,) * d] - source

    objective = LogJoint(kernel, nodes, faces, residual, needs, boundary_weight=37.0)
    blocks = [
        {order: cross_matrix(kernel, mixture, line, line, order) for order in range(3)}
        for mixture, line in zip(state.mixtures, nodes, strict=True)
    ]
    covariances = [b[0] + 1e-6 * torch.eye(len(b[0]), dtype=torch.float64) for b in blocks]
    dense, values = kronecker(covariances), state.values.flatten()
    weights = torch.linalg.solve(dense, values)
    fields = {(0,) * d: state.values}
    for index in needs:
        factors = [
            b[order] if order else c
            for b, c, order in zip(blocks, covariances, index, strict=True)
        ]
        fields[index] = (kronecker(factors) @ weights).reshape(resolution)
    misfits = [state.values.select(f.axis, f.index) - f.values for f in faces]
    num_boundary = sum(m.numel() for m in misfits)
    boundary_gap = sum(m.square().sum() for m in misfits)
    equation_gap = residual(fields).square().sum()
    tau, v = state.log_boundary_precision, state.log_equation_precision
    log_joint = (
        -(torch.linalg.slogdet(dense)[1] + values @ weights) / 2
        + 37.0 * (num_boundary * tau - tau.exp() * boundary_gap) / 2
        + (size * v - v.exp() * equation_gap) / 2
    )
    terms = objective.terms(state)
    torch.testing.assert_close(terms.loss, -log_joint, rtol=1e-9, atol=0)
    torch.testing.assert_close(
        objective.weights(state).flatten(), weights, rtol=1e-7, atol=1e-7
    )
    for index, field in objective.fields(state).items():
        torch.testing.assert_close(field, fields[index], rtol=1e-7, atol=1e-7)


def test_gradient_of_the_two_dimensional_objective():
    resolution, needs = (4, 3), [(2, 0), (0, 1)]
    nodes = [torch.linspace(0, 1, n, dtype=torch.float64) for n in resolution]
    state = random_state(resolution, 2, 31_337)
    faces = [Face(0, 0, torch.ones(3, dtype=torch.float64))]
    objective = LogJoint(
        STM,
        nodes,
        faces,
        lambda f: 1e-3 * (f[2, 0] - f[0, 1] + f[0, 0] ** 3),
        needs,
        jitter=1e-3,
    )

    def loss(*leaves):
        mixtures = (MixtureParameters(*leaves[:3]), MixtureParameters(*leaves[3:6]))
        return objective.terms(GridState(mixtures, *leaves[6:])).loss

    leaves = [leaf.requires_grad_() for leaf in state.tensors]
    assert torch.autograd.gradcheck(loss, leaves, rtol=1e-4, atol=1e-3)


def test_offset_enters_the_likelihoods_and_not_the_prior():
    """With U = 0 and an offset u₀ the gaps are those of u₀ and the prior is that of zero."""
    nodes = [torch.linspace(0, 1, 9, dtype=torch.float64)]
    offset = {(0,): torch.sin(3 * nodes[0]), (2,): -9 * torch.sin(3 * nodes[0])}
    faces = [Face(0, 0, torch.tensor(0.5, dtype=torch.float64))]
    state = initial_state([9], 3, 4.0)
    objective = LogJoint(STM, nodes, faces, lambda f: f[2,] - 1.0, [(2,)], offset=offset)
    terms = objective.terms(state)
    assert float(terms.boundary_gap) == pytest.approx(0.25)
    assert float(terms.equation_gap) == pytest.approx(float((offset[2,] - 1).square().sum()))
    assert float(terms.quadratic_form) == 0
    assert not objective.fields(state)[2,].any()


def test_errors_say_what_to_do():
    nodes = [torch.linspace(0, 1, n, dtype=torch.float64) for n in (4, 3)]
    wrong = Face(0, 0, torch.ones(4, dtype=torch.float64))
    with pytest.raises(
        ValueError, match=r"expected values of shape \(3,\) on a face of axis 0"
    ):
        LogJoint(STM, nodes, [wrong], lambda fields: fields[0, 0], [])
    state = initial_state([4, 3], 2, 4.0)
    state.mixtures[1].log_weights.fill_(float("nan"))
    objective = LogJoint(STM, nodes, [], lambda fields: fields[0, 0], [])
    with pytest.raises(ValueError, match="LogJoint: covariance of axis 1"):
        objective.terms(state)
