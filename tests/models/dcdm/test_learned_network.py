import dataclasses

import pytest
import torch

from sciml.linalg.poisson import PoissonOperator
from sciml.models.dcdm.learned_hierarchy import (
    graph_levels,
    hierarchy,
    hierarchy_of_flags,
    join,
    levels_of_shape,
)
from sciml.models.dcdm.learned_network import LearnedCCMGNet, chebyshev_steps
from sciml.simulate.geometry import make_flags
from sciml.simulate.poisson_geometry import GeometrySampler
from sciml.simulate.poisson_samples import poisson_spec


def inputs(kinds, shape, *, seed):
    torch.manual_seed(seed)
    samples = []
    for number, kind in enumerate(kinds):
        flags = torch.from_numpy(make_flags(kind, shape, seed=seed + number))
        samples.append(torch.stack([torch.randn(shape) * (flags == 2), flags.float()]))
    return torch.stack(samples)


@pytest.mark.parametrize(
    ("options", "count"),
    [
        ({"smoother": "polynomial"}, 1193),
        ({"smoother": "polynomial", "degree": 3}, 1212),
        ({"smoother": "red_black"}, 1212),
    ],
)
def test_parameter_counts(options, count):
    assert sum(p.numel() for p in LearnedCCMGNet(2, **options).parameters()) == count


@pytest.mark.parametrize("smoother", ["polynomial", "red_black"])
def test_every_parameter_gets_a_gradient(smoother):
    torch.manual_seed(50021)
    network = LearnedCCMGNet(2, smoother=smoother)
    u = inputs(["freesurf"], (33, 30), seed=50023)
    network(u).square().sum().backward()
    for name, parameter in network.named_parameters():
        assert torch.isfinite(parameter.grad).all(), name
        assert parameter.grad.abs().max() > 0, name


@pytest.mark.parametrize(
    ("kinds", "shape"),
    [(["random", "freesurf", "thin"], (31, 26)), (["sphere", "freesurf"], (11, 9, 12))],
)
def test_a_batch_is_its_samples(kinds, shape):
    u = inputs(kinds, shape, seed=50033)
    network = LearnedCCMGNet(len(shape))
    with torch.no_grad():
        z = network(u)
        alone = torch.cat([network(u[k : k + 1]) for k in range(len(kinds))])
    assert z.shape == (len(kinds), 1, *shape)
    torch.testing.assert_close(z, alone, rtol=1e-4, atol=1e-5 * float(z.abs().max()))
    assert (z[u[:, 1:] != 2] == 0).all()


def test_values_outside_of_the_fluid_play_no_part():
    u = inputs(["freesurf"], (20, 23), seed=50047)
    changed = u.clone()
    changed[:, 0][u[:, 1] != 2] = 1e3
    network = LearnedCCMGNet(2)
    with torch.no_grad():
        torch.testing.assert_close(network(changed), network(u), rtol=0, atol=0)


def test_chebyshev_steps_are_roots_of_the_least_polynomial():
    for degree in (1, 2, 3, 4):
        steps = torch.tensor(chebyshev_steps(degree), dtype=torch.float64)
        grid = torch.linspace(0.5, 2.0, 2001, dtype=torch.float64)
        residual = (1 - grid[:, None] * steps).prod(1)
        # 1 / T_m(5/3), with T_m(cosh t) = cosh(m t)
        least = 1 / torch.cosh(degree * torch.acosh(torch.tensor(5 / 3, dtype=torch.float64)))
        assert float(residual.abs().max()) == pytest.approx(float(least), rel=1e-6)


def test_the_levels_of_a_shape_suit_all_its_geometries():
    assert levels_of_shape((64, 64)) == 4
    assert levels_of_shape((3, 3)) == 2
    assert levels_of_shape((20, 20, 20)) == 3
    for kind in ("random", "thin"):
        flags = make_flags(kind, (40, 31), seed=50051)
        levels = hierarchy_of_flags(flags.tobytes(), flags.shape, torch.float32)
        assert 1 + len(levels.coarse) == levels_of_shape(flags.shape)


def test_joined_edges_keep_those_within_blocks_last():
    flags = make_flags("random", (24, 24), seed=50053)
    jumps = torch.where(torch.rand(24, 24, dtype=torch.float64) < 0.5, 1.0, 1e3)
    operator = PoissonOperator(flags, coefficients=jumps)
    one = hierarchy(operator, graph_levels(operator, 3))
    both = join([one, one])
    graph, twice = one.coarse[1], both.coarse[1]
    along = len(graph.edge_features.place)
    assert along < len(graph.lower)  # strength has split blocks
    n = graph.num_nodes
    expected = torch.cat([graph.lower[:along], graph.lower[:along] + n, graph.lower[along:]])
    torch.testing.assert_close(twice.lower[: 2 * along + len(graph.lower) - along], expected)
    torch.testing.assert_close(twice.conductance[:along], graph.conductance[:along])
    assert len(twice.edge_features.place) == 2 * along


def test_from_spec_takes_geometries_alone():
    spec = GeometrySampler((16, 16, 16), num_geometries=4).spec
    network = LearnedCCMGNet.from_spec(spec, degree=3, smoother="polynomial", num_visits=1)
    assert (network.ndim, network.degree, network.num_visits) == (3, 3, 1)
    plain = poisson_spec("poisson_dct", (16, 16), masks=False)
    with pytest.raises(ValueError, match=r"LearnedCCMGNet: expected .* got 'poisson_dct'"):
        LearnedCCMGNet.from_spec(plain)
    other = dataclasses.replace(spec, in_fields=spec.in_fields[::-1])
    with pytest.raises(ValueError, match="choose a data set of geometries"):
        LearnedCCMGNet.from_spec(other)


@pytest.mark.parametrize("options", [{"degree": 0}, {"num_visits": 3}, {"ndim": 1}])
def test_numbers_out_of_range_are_refused(options):
    with pytest.raises(ValueError, match="LearnedCCMGNet: expected ndim 2 or 3"):
        LearnedCCMGNet(**({"ndim": 2} | options))


def test_another_smoother_and_wrong_inputs_are_refused():
    with pytest.raises(ValueError, match="'polynomial' or 'red_black', got 'jacobi'"):
        LearnedCCMGNet(2, smoother="jacobi")
    network = LearnedCCMGNet(2)
    with pytest.raises(ValueError, match="expected 2 input channels, got 1"):
        network(torch.ones(1, 1, 8, 8))
    with pytest.raises(ValueError, match="flags"):
        network(torch.full((1, 2, 8, 8), 7.0))
