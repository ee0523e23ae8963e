"""A small data set in memory (2-D heat equation) and a small model, for the engine's tests."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from sciml.data.dataset import WindowedDataset
from sciml.data.module import DataModule
from sciml.data.sources.base import Source
from sciml.domain import Box
from sciml.nn.model import SurrogateModel
from sciml.spec import DatasetSpec, FieldSpec

SEED = 7919


class Diffusion(Source):
    """Periodic heat equation u_t = ν ∆u from random smooth states, exact in Fourier space."""

    def __init__(
        self,
        num_trajectories: int = 12,
        num_frames: int = 6,
        resolution: tuple[int, int] = (8, 8),
        dt: float | None = 0.1,
        num_params: int = 0,
    ) -> None:
        self._num_frames = num_frames
        fields = (FieldSpec("temperature"),)
        self._spec = DatasetSpec(
            "diffusion",
            Box(("x", "y"), (0.0, 0.0), (1.0, 1.0), (True, True)),
            resolution,
            fields,
            fields if dt is not None else (FieldSpec("flux"),),
            params=("viscosity",)[:num_params],
            dt=dt,
        )
        self._count = num_trajectories
        generator = np.random.default_rng(SEED)
        k = np.stack(
            np.meshgrid(*[np.fft.fftfreq(n, 1 / n) for n in resolution], indexing="ij")
        )
        square = (k**2).sum(0)
        noise = np.fft.fft2(generator.standard_normal((num_trajectories, 1, *resolution)))
        times = 0.1 * np.arange(num_frames)
        decay = np.exp(-(1.0 + 0.2 * times[:, None, None]) * 0.3 * square)
        decay *= np.exp(-0.3 * times)[:, None, None]
        self._frames = 5.0 + 3.0 * np.fft.ifft2(noise * decay).real.astype(np.float32)

    @property
    def spec(self) -> DatasetSpec:
        return self._spec

    @property
    def splits(self) -> Mapping[str, range]:
        last = self._count
        return {
            "train": range(last - 4),
            "valid": range(last - 4, last - 2),
            "test": range(last - 2, last),
        }

    @property
    def lengths(self) -> NDArray[np.int64]:
        frames = 1 if self._spec.paired else self._num_frames
        return np.full(self._count, frames, dtype=np.int64)

    @property
    def memory_mapped(self) -> bool:
        return True

    @property
    def fingerprint(self) -> str:
        return "diffusion"

    def read(
        self, trajectory: int, start: int, stop: int, stride: int, out: NDArray[np.float32]
    ) -> None:
        out[:] = self._frames[trajectory, start:stop:stride][:, None]

    def read_targets(self, trajectory: int, out: NDArray[np.float32]) -> None:
        frame = self._frames[trajectory, 0]
        out[0] = 40.0 * (np.roll(frame, -1, axis=0) - frame) + 7.0

    def read_static(self, trajectory: int, out: NDArray[np.float32]) -> None:
        raise AssertionError("there are no static fields")

    def times(self, trajectory: int) -> NDArray[np.float64]:
        return 0.1 * np.arange(self._num_frames)

    def params(self, trajectory: int) -> NDArray[np.float64]:
        return np.full(len(self._spec.params), 0.01 * (trajectory + 1))

    def boundary(self, trajectory: int) -> NDArray[np.int64]:
        return np.full((2, 2), 2, dtype=np.int64)

    def locate(self, trajectory: int) -> str:
        return f"trajectory {trajectory} in memory"

    def describe(self) -> str:
        return "heat equation in memory"


class Convolution(SurrogateModel):
    """Two circular convolutions, with dropout between them."""

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        hidden_channels: int = 6,
        dropout: float = 0.0,
    ) -> None:
        super().__init__(in_channels, out_channels, ndim=2)
        self.lift = nn.Conv2d(
            in_channels, hidden_channels, 3, padding=1, padding_mode="circular"
        )
        self.dropout = nn.Dropout(dropout)
        self.project = nn.Conv2d(hidden_channels, out_channels, 1)

    @classmethod
    def from_spec(cls, spec: DatasetSpec, **hyper: Any) -> "Convolution":
        return cls(spec.in_channels, spec.out_channels, **hyper)

    def forward(
        self, u: Tensor, *, params: Tensor | None = None, coords: Tensor | None = None
    ) -> Tensor:
        return self.project(self.dropout(torch.tanh(self.lift(u))))

    def check_resolution(self, space: tuple[int, ...]) -> None:
        if any(n % 2 for n in space):
            raise ValueError(f"Convolution: expected an even grid, got {space}; resample it")


class Conditioned(Convolution):
    """The same, scaled by the PDE parameter."""

    accepts_params = True

    def forward(
        self, u: Tensor, *, params: Tensor | None = None, coords: Tensor | None = None
    ) -> Tensor:
        if params is None:
            raise ValueError("Conditioned: expected params, got none; pass them")
        return super().forward(u) * params[:, :1, None, None]


class LastFrame(SurrogateModel):
    """No parameters: the newest frame again."""

    @classmethod
    def from_spec(cls, spec: DatasetSpec) -> "LastFrame":
        return cls(spec.in_channels, spec.out_channels)

    def forward(
        self, u: Tensor, *, params: Tensor | None = None, coords: Tensor | None = None
    ) -> Tensor:
        return u[:, -self.out_channels :]


def diffusion_data(*, history: int = 1, batch_size: int = 4, **source: Any) -> DataModule:
    """Data module of the heat equation: 8 training, 2 validation and 2 test samples.

    With ``dt=None`` the samples are pairs of a temperature and its (scaled) flux.
    """
    dataset = WindowedDataset(Diffusion(**source))
    return DataModule(dataset, batch_size=batch_size, history=history, seed=SEED)


def convolution(data: DataModule, *, seed: int = SEED, **hyper: Any) -> Convolution:
    """The network with weights that depend on the seed alone."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return Convolution.from_spec(data.spec, **hyper)
