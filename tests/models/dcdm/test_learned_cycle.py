import numpy as np
import pytest
import torch

from sciml.linalg.poisson import PoissonOperator
from sciml.models.dcdm.learned_ccmg import LearnedCCMG
from sciml.models.dcdm.learned_cycle import graph_product
from sciml.models.dcdm.learned_hierarchy import graph_levels
from sciml.models.dcdm.learned_network import LearnedCCMGNet, chebyshev_steps
from sciml.simulate.geometry import make_flags


def dense_graph(level):
    matrix = np.diag(level.diagonal)
    for edge in (*level.edges, level.inner):
        matrix[edge.lower, edge.upper] -= edge.weight
        matrix[edge.upper, edge.lower] -= edge.weight
    return matrix


def dense_classical_cycle(levels, *, smoother, degree, num_visits):
    """M of the textbook cycle as a matrix, from error propagators."""
    matrices = [dense_graph(level) for level in levels]

    def sweep(number):
        """Error propagator of the smoothing before the correction."""
        a = matrices[number]
        inverse = np.diag(1 / np.diag(a))
        identity = np.eye(len(a))
        total = identity
        if smoother == "polynomial":
            for step in chebyshev_steps(degree):
                total = (identity - step * inverse @ a) @ total
            return total
        red = np.arange(len(a)) < levels[number].num_red
        for colour in (red, ~red) * degree:
            total = (identity - np.diag(colour * 1.0) @ inverse @ a) @ total
        return total

    def inverse_of(number):
        a = matrices[number]
        if number == len(levels) - 1:
            return np.linalg.pinv(a)
        s = sweep(number)
        coarse, b = matrices[number + 1], inverse_of(number + 1)
        if number > 0 and number + 2 < len(levels) and num_visits == 2:
            b = 2 * b - b @ coarse @ b
        p = np.zeros((len(a), len(coarse)))
        p[np.arange(len(a)), levels[number + 1].aggregate] = 1
        identity = np.eye(len(a))
        correction = identity - p @ b @ p.T @ a
        # the smoothing after the correction is the adjoint of that before, in the A-norm
        after = np.linalg.solve(a, s.T @ a)
        error = after @ correction @ s
        return (identity - error) @ np.linalg.inv(a)

    return inverse_of(0)


@pytest.mark.parametrize("smoother", ["polynomial", "red_black"])
@pytest.mark.parametrize("num_visits", [1, 2])
@pytest.mark.parametrize("degree", [1, 2, 3])
def test_without_learning_it_is_the_textbook_cycle(smoother, num_visits, degree):
    flags = make_flags("freesurf", (36, 40), seed=40009)  # touches air: definite on all levels
    flags[18, 2:20] = 1
    operator = PoissonOperator(flags)
    levels = graph_levels(operator)
    assert len(levels) >= 3
    expected = dense_classical_cycle(
        levels, smoother=smoother, degree=degree, num_visits=num_visits
    )
    network = LearnedCCMGNet(2, degree=degree, smoother=smoother, num_visits=num_visits)
    m = LearnedCCMG(network, operator, choose="classical", dtype=torch.float64)
    cells = tuple(levels[0].block)
    generator = np.random.default_rng(40013)
    r = np.zeros(flags.shape)
    r[cells] = generator.standard_normal(levels[0].num_nodes)
    z = m.mv(torch.as_tensor(r)).numpy()
    np.testing.assert_allclose(z[cells], expected @ r[cells], rtol=1e-9, atol=1e-11)
    assert (z[flags != 2] == 0).all()


def test_graph_product_has_the_gradients_of_its_formula():
    torch.manual_seed(40031)
    ends = (torch.tensor([0, 1, 1, 3]), torch.tensor([1, 2, 4, 4]))
    leaves = [torch.rand(n, dtype=torch.float64, requires_grad=True) for n in (5, 4, 5)]

    def product(x, weight, diagonal):
        return graph_product(x, weight, diagonal, ends)

    assert torch.autograd.gradcheck(product, leaves)


@pytest.mark.parametrize("smoother", ["polynomial", "red_black"])
def test_the_cycle_has_the_gradients_of_finite_differences(smoother):
    torch.manual_seed(40037)
    flags = make_flags("freesurf", (12, 9), seed=40039)
    flags[4, 3:9] = 1
    network = LearnedCCMGNet(2, smoother=smoother).double()
    operator = PoissonOperator(flags[None], num_axes=2)
    names, values = zip(*network.named_parameters(), strict=True)
    r = torch.randn(flags.size, dtype=torch.float64) * operator.fluid.reshape(-1)
    probe = torch.randn(flags.size, dtype=torch.float64)

    class Applied(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.network = network

        def forward(self):
            return (self.network.cycle(operator)(r) * probe).sum()

    applied = Applied()
    applied().backward()
    step = 1e-6
    for name, value in zip(names, values, strict=True):
        direction = torch.randn_like(value)
        with torch.no_grad():
            value.add_(direction, alpha=step)
            above = applied()
            value.sub_(direction, alpha=2 * step)
            below = applied()
            value.add_(direction, alpha=step)
        slope = float((above - below) / (2 * step))
        assert float((value.grad * direction).sum()) == pytest.approx(
            slope, rel=1e-5, abs=1e-8
        ), name


@pytest.mark.parametrize("smoother", ["polynomial", "red_black"])
@pytest.mark.parametrize(
    ("kind", "shape"), [("dense", (37, 30)), ("freesurf", (25, 40)), ("thin", (13, 14, 11))]
)
def test_symmetric_and_positive_for_any_parameters(smoother, kind, shape):
    torch.manual_seed(40063)
    network = LearnedCCMGNet(len(shape), smoother=smoother)
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.add_(torch.randn_like(parameter), alpha=0.1)
    operator = PoissonOperator(make_flags(kind, shape, seed=40087))
    m = LearnedCCMG(network, operator, choose="learned", dtype=torch.float64)
    u, v = (operator.project(torch.randn(shape, dtype=torch.float64)) for _ in range(2))
    mu, mv = m.mv(u), m.mv(v)
    assert float((mu * v).sum()) == pytest.approx(float((mv * u).sum()), rel=1e-11, abs=1e-11)
    assert float((mu * u).sum()) > 0


@pytest.mark.parametrize("smoother", ["polynomial", "red_black"])
@pytest.mark.parametrize("num_visits", [1, 2])
def test_the_compiled_cycle_is_the_differentiable_one(smoother, num_visits):
    torch.manual_seed(40093)
    network = LearnedCCMGNet(2, smoother=smoother, num_visits=num_visits)
    flags = make_flags("random", (29, 34), seed=40099)
    operator = PoissonOperator(flags)
    m = LearnedCCMG(network, operator, choose="learned")
    r = torch.randn(29, 34) * operator.fluid
    with torch.no_grad():
        z = network(torch.stack([r, operator.flags.float()])[None])[0, 0]
    torch.testing.assert_close(m.mv(r), z, rtol=1e-4, atol=2e-5 * float(z.abs().max()))
