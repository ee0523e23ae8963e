"""How many points an axis needs: the frequencies in the right-hand side and in the data."""

import math

import torch
from jaxtyping import Float
from torch import Tensor

from sciml.pde.points import Points, face_points, interior_points
from sciml.pde.problem import Problem

_LINE_POINTS = 4096
_NUM_LINES = 6
_LINE_SEED = 5_308_417
_NOTICED = 1e-3  # of the largest amplitude of a line: what a chosen resolution resolves
_DOMINANT = 3e-2  # what a given resolution must not alias
_COMFORTABLE = 0.6  # of the Nyquist frequency
_SMALLEST = {1: 64, 2: 48, 3: 32}
_LARGEST = {1: 2048, 2: 720, 3: 160}


def largest_frequency(problem: Problem, axis: int, threshold: float) -> float:
    """Highest frequency along an axis with an amplitude above `threshold` of the largest.

    Lines of the right-hand side (the residual of the zero field) and of the data on the faces
    are windowed and transformed; the highest local maximum counts.

    Args:
        problem: The problem.
        axis: Number of the axis.
        threshold: Amplitude relative to the largest of the same line.

    Returns:
        The frequency in cycles per unit length, to about half a period of the axis.
    """
    domain = problem.domain
    line = domain.points_along(axis, _LINE_POINTS, "cell")
    generator = torch.Generator().manual_seed(_LINE_SEED)
    places = interior_points(domain, _NUM_LINES if domain.ndim > 1 else 1, generator)
    samples = []
    for place in places:
        points = place.repeat(_LINE_POINTS, 1)
        points[:, axis] = line
        samples.append(problem.residuals(points, problem.zero_jets(_LINE_POINTS))[0])
        for condition in problem.face_conditions:
            if condition.axis != domain.axes[axis]:
                lines = [place[k : k + 1] for k in range(domain.ndim)]
                lines[axis] = line
                face = face_points(domain, condition.axis, condition.side, lines)
                samples.append(condition.values(Points(domain.axes, face)))
    highest = max(_highest_peak(sample, threshold) for sample in samples)
    return highest / domain.extent[axis]


def chosen_resolution(problem: Problem) -> tuple[int, ...]:
    """Points per axis with the noticed frequencies at 0.6 of the Nyquist frequency."""
    ndim = problem.domain.ndim
    counts = []
    for axis, extent in enumerate(problem.domain.extent):
        periods = largest_frequency(problem, axis, _NOTICED) * extent
        needed = math.ceil(2.0 * periods / _COMFORTABLE) + 16
        counts.append(min(max(needed, _SMALLEST[ndim]), _LARGEST[ndim]))
    return tuple(counts)


def refined_resolution(resolution: tuple[int, ...]) -> tuple[int, ...] | None:
    """Half as many points again on every axis, or None at the largest."""
    largest = _LARGEST[len(resolution)]
    refined = tuple(min(math.ceil(1.5 * count), largest) for count in resolution)
    return None if refined == resolution else refined


def check_resolution(problem: Problem, resolution: tuple[int, ...]) -> None:
    """Refuse nodes that alias the dominant frequencies of the data.

    Raises:
        ValueError: Naming the axis, the frequency and the points that it needs.
    """
    domain = problem.domain
    for axis, (name, extent, count) in enumerate(
        zip(domain.axes, domain.extent, resolution, strict=True)
    ):
        periods = largest_frequency(problem, axis, _DOMINANT) * extent
        # the peak is known to half a period
        if count < 2.0 * (periods - 0.5) + 1.0:
            needed = math.ceil(2.0 * periods / _COMFORTABLE) + 16
            raise ValueError(
                f"GPHMSolver: axis {name!r} needs about {needed} points per axis for frequency "
                f"{periods / extent:.4g} (cycles per unit length) in the right-hand side or "
                f"the data, got {count}; raise the resolution, or leave it out to have it "
                "chosen"
            )


def _highest_peak(sample: Float[Tensor, " n"], threshold: float) -> float:
    """Highest local maximum of the windowed spectrum, in periods per line."""
    window = torch.hann_window(sample.numel(), periodic=False, dtype=torch.float64)
    mean = (window * sample).sum() / window.sum()
    amplitude = torch.fft.rfft(window * (sample - mean)).abs()
    inner = amplitude[1:-1]
    peak = (inner >= amplitude[:-2]) & (inner > amplitude[2:])
    peak &= inner > threshold * amplitude.max()
    found = torch.nonzero(peak).flatten()
    return float(found[-1]) + 1.0 if found.numel() else 0.0
