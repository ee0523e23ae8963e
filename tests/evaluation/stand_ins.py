"""A decaying random field whose exact solution is known, and forecasters of known error."""

from dataclasses import dataclass

import torch

from sciml.domain import Box
from sciml.spec import Batch, DatasetSpec, FieldSpec

DT = 0.5


def make_spec(space=(8, 6), *, dt=DT, steady=False, params=()):
    axes = ("x", "y", "z")[: len(space)]
    domain = Box(axes, (0.0,) * len(space), (1.0,) * len(space), (True,) * len(space))
    fields = (FieldSpec("vorticity", units="1/s"),)
    outputs = (FieldSpec("pressure"),) if steady else fields
    return DatasetSpec(
        "decay", domain, space, fields, outputs, params=params, dt=None if steady else dt
    )


@dataclass
class Decay:
    """u(t) = u(0) / 2^t, each sample from its own random field; steady data map u to u / 2."""

    spec: DatasetSpec
    num_samples: int = 5
    num_frames: int = 3
    times: bool = True
    largest_request: int = 0

    def __len__(self):
        return self.num_samples

    def batch(self, indices):
        self.largest_request = max(self.largest_request, len(indices))
        shape = (1, *self.spec.resolution)
        u = torch.stack(
            [
                torch.randn(shape, generator=torch.Generator().manual_seed(40_009 + i))
                for i in indices
            ]
        )
        steps = torch.arange(1, self.num_frames + 1).reshape(1, -1, *[1] * len(shape))
        times = 10 + DT * torch.arange(self.num_frames + 1.0).repeat(len(indices), 1)
        params = torch.ones(len(indices), 1) if self.spec.params else None
        return Batch(
            u, u[:, None] * 0.5**steps, params=params, times=times if self.times else None
        )


class Halving:
    """Exact up to a factor (1 + error), the same at every step."""

    def __init__(self, error=0.0):
        self.error = error
        self.params = None

    def __call__(self, u, *, params=None):
        return 0.5 * (1 + self.error) * u

    def rollout(self, u, num_steps, *, params=None):
        self.params = params
        steps = torch.arange(1, num_steps + 1).reshape(1, -1, *[1] * (u.ndim - 1))
        return (1 + self.error) * u[:, None] * 0.5**steps
