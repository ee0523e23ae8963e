"""Latent Spectral Models (LSM).

Claim: solving the equation in a few learned latent tokens per patch, with a trigonometric
series, costs linear time in the grid points and is more accurate than attention or convolution
alone (Wu, Hu, Luo, Wang, Long, Solving High-Dimensional PDEs with Latent Spectral Models, ICML
2023, arXiv 2301.12664).

Equation, for the points X of one patch and its learned tokens: ``z = softmax(latent Kᵀ) V +
latent``, ``f(z) = z + Σ_m a_m sin(ω_m z) + b_m cos(ω_m z)``, ``y = X + softmax(Q f(z)ᵀ) f(z)``,
inside a U-Net.

Command: ``python train.py model=lsm dataset=navier_stokes``.

Two modes:

- `LSM`, the default: Fourier mixing on three levels with latent blocks on the coarse ones, for
  periodic grids. ``latent_block=False`` is the ablation. At equal time on smooth periodic flow
  the ablation is at least as accurate: what beats the published model are cheap steps and
  Fourier mixing, not the latent block.
- `ReferenceLSM` and `load_reference`: the published model, key by key, with an exact but faster
  block.

Published: relative L2 0.1535 on Navier–Stokes with viscosity 1e-5, ten frames predicted from
ten.
Ours: the numbers and the commands that make them stand in the README.
"""

from sciml.models.lsm.model import LSM
from sciml.models.lsm.reference import ReferenceLSM, load_reference

__all__ = ["LSM", "ReferenceLSM", "load_reference"]
