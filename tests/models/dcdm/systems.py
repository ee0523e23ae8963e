"""Pressure systems and directions that the tests of the solver share."""

import torch

from sciml.linalg.poisson import PoissonOperator
from sciml.simulate.geometry import make_flags, right_hand_side


def pressure_system(kind="random", shape=(16, 14), seed=7919):
    """Operator and projected right-hand side."""
    flags = make_flags(kind, shape, seed=seed)
    operator = PoissonOperator(torch.from_numpy(flags))
    return operator, operator.project(torch.from_numpy(right_hand_side(flags, seed=seed + 2)))


def random_nonlinear(shape, seed=60013):
    """A map of fields without any property that helps: no symmetry, no linearity."""
    generator = torch.Generator().manual_seed(seed)
    weight = torch.randn(3, 1, 3, 3, generator=generator, dtype=torch.float64)

    def direction(r):
        fields = r.reshape(-1, 1, *shape)
        features = torch.nn.functional.conv2d(fields / fields.norm(), weight, padding=1)
        return (fields + features.tanh().sum(1, keepdim=True)).reshape(r.shape)

    return direction
