"""Equations with exact solutions: ``poisson_1d("single_sin")`` and its neighbours.

Source: Fang et al., Solving High Frequency and Multi-Scale PDEs with Gaussian Processes, ICLR
2024, arXiv:2311.04465, section 6.
"""

from sciml.pde.gallery.advection import advection
from sciml.pde.gallery.allen_cahn import allen_cahn_1d, allen_cahn_2d
from sciml.pde.gallery.poisson import poisson_1d, poisson_2d, poisson_3d

__all__ = [
    "advection",
    "allen_cahn_1d",
    "allen_cahn_2d",
    "poisson_1d",
    "poisson_2d",
    "poisson_3d",
]
