"""Off-lattice repair: atoms at the peaks of the learned spectrum, and their frequencies."""

import math
from dataclasses import replace

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from sciml.models.gp_hm.model import HarmonicFeatures

PEAK_THRESHOLD = 1e-2  # of the largest weight; 1e-3 adds peaks that are noise
_ATOM_DEGREE = 2
_CONSTANT_DEGREE = 12  # a smooth part shows as a peak at zero; polynomials carry it
_LATTICE_SHARE = 1e-2  # what the lattice keeps of its own weights beside atoms of weight one


def add_atoms(features: HarmonicFeatures) -> HarmonicFeatures:
    r"""Atoms :math:`t^k \cos ωs, t^k \sin ωs`, k ≤ 2, at every peak of the lattice weights.

    A peak is a weight above 1e-2 of the largest that is not below its left and above its right
    neighbour. The peak at zero gets the polynomials up to degree 12. The span is closed under
    differentiation, so the atoms fit every solver that the lattice fits.

    Source: spec 6.2b, recipe 3.
    """
    peaks = features.omega[: features.num_lattice][_peaks(features)]
    return _with_atoms(features, peaks)


def correct_atoms(
    features: HarmonicFeatures, coefficients: Float[Tensor, "columns *others"]
) -> tuple[HarmonicFeatures, float]:
    r"""Move every atom to where its own coefficients say the line is, and reweight the lattice.

    To first order :math:`\cos((ω + δ)s)` is :math:`\cos ωs - δ s \sin ωs`, so the coefficients
    z of degree 0 and d of degree 1 give
    :math:`δ = \frac{2}{L} \sum (d_c z_s - d_s z_c) / \sum (z_c^2 + z_s^2)` over all columns.

    Returns:
        The corrected features and the largest |δ|.
    """
    table = coefficients.reshape(2, features.num_lines, -1)
    atoms = slice(features.num_lattice, features.num_lines)
    degree, omega = features.degree[atoms], features.omega[atoms]
    start = (degree == 0) & (omega > 0)
    position = torch.nonzero(start).flatten() + features.num_lattice
    z, d = table[:, position], table[:, position + 1]
    cross = (d[0] * z[1] - d[1] * z[0]).sum(-1)
    energy = z.square().sum(dim=(0, 2)).clamp_min(torch.finfo(torch.float64).tiny)
    shift = (2.0 / features.length) * cross / energy
    limit = 2.0 * math.pi / features.length
    shift = shift.clamp(-limit, limit)
    size = features.energy(coefficients)
    lattice = features.reweighted(coefficients).weight[: features.num_lattice]
    lattice = size[: features.num_lattice] / float(size.max()) + lattice.min()
    constant = bool(((degree == 0) & (omega == 0)).any())
    peaks = omega[start] + shift
    if constant:
        peaks = torch.cat([torch.zeros(1, dtype=torch.float64), peaks])
    moved = replace(
        features,
        weight=torch.cat([lattice, features.weight[atoms]]),
    )
    largest = float(shift.abs().max()) if shift.numel() else 0.0
    return _with_atoms(moved, peaks), largest


def _peaks(features: HarmonicFeatures) -> Bool[Tensor, " num_lattice"]:
    weight = features.weight[: features.num_lattice]
    edge = torch.zeros(1, dtype=torch.float64)
    left, right = torch.cat([edge, weight[:-1]]), torch.cat([weight[1:], edge])
    return (weight >= left) & (weight > right) & (weight > PEAK_THRESHOLD * weight.max())


def _with_atoms(features: HarmonicFeatures, peaks: Tensor) -> HarmonicFeatures:
    """The lattice at a hundredth of its weights, beside atoms of weight one at `peaks`."""
    omega, degree = [], []
    for peak in peaks:
        highest = _ATOM_DEGREE if float(peak) > 0 else _CONSTANT_DEGREE
        degree.append(torch.arange(highest + 1, dtype=torch.float64))
        omega.append(peak.expand(highest + 1))
    atoms = sum(part.numel() for part in degree)
    lattice = slice(0, features.num_lattice)
    none = torch.zeros(0, dtype=torch.float64)
    return replace(
        features,
        omega=torch.cat([features.omega[lattice], *omega]),
        degree=torch.cat([features.degree[lattice], *degree]),
        weight=torch.cat(
            [
                _LATTICE_SHARE * features.weight[lattice],
                torch.ones(atoms, dtype=torch.float64),
                none,
            ]
        ),
    )
