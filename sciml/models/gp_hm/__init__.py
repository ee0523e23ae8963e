"""Gaussian processes with harmonic mixture kernels (GP-HM): a solver of problems on boxes.

Claim: modelling the power spectrum of the solution along each axis by a mixture of Student-t or
Gaussian bumps, and learning their frequencies and weights, solves high-frequency and multiscale
equations on which neural networks fail (Fang, Cooley, Long, Li, Kirby, Zhe, Solving High
Frequency and Multi-Scale PDEs with Gaussian Processes, ICLR 2024, arXiv 2311.04465).

Equation, along one axis: ``k(τ) = Σ_q w_q e(τ; θ_q) cos(2π μ_q τ)``; in d dimensions the
product over the axes, so that the covariance of a tensor grid is a Kronecker product.

Call: ``sciml.solve(problem, GPHMSolver())``.

Three ways to infer the solution:

- ``inference="direct"``, the default: means on a lattice of frequencies, bumps of zero width,
  weights by a few closed-form passes; no gradient steps. Frequencies and an error estimate in
  seconds, accurate to rounding where the spectrum is made of lines. With
  ``DirectOptions(posterior=True)`` a noisy equation on one or two axes and observations are
  conditioned on, with a standard deviation.
- ``inference="evidence"``: marginal likelihood of equation, conditions and observations by
  L-BFGS with exact gradients, then the Gaussian posterior with its standard deviation. For
  noisy data inside the domain; least squares squared, so less accurate than the direct way.
- ``inference="adam"``: the published method, step by step, two stages included.

`sciml.models.gp_hm.gpytorch_kernels` has the kernels as kernels of gpytorch.

Published: relative L2 6.5e-7 on u'' = f with u = sin 100x (400 nodes, 100,000 steps), the least
of 20 test errors along the run. Ours, final states: the numbers and the command that makes them
stand in the README.
"""
