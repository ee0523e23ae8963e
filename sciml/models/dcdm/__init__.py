"""Deep conjugate direction method (DCDM), and learning on top of multigrid.

Claim: a small convolutional network, trained without solutions on right-hand sides of one
matrix, proposes search directions with which a Krylov-like iteration solves the pressure
systems of incompressible flow in few steps, on other sizes and domains too (Kaneda, Akar,
Chen, Kala, Hyde, Teran, A Deep Conjugate Direction Method for Iteratively Solving Linear
Systems, ICML 2023, arXiv 2205.10763).

Equation: ``q = f(r / |r|)`` made A-conjugate to the last directions, then the exact line
search ``x <- x + (q.r / q.Aq) q``; f minimises ``|r - a A f(r)|^2`` with ``a = f(r).r /
f(r).A f(r)``.

Command: ``python train.py model=dcdm dataset=poisson_dct``; then ``linear_solve(A, b,
DCDM(sciml.load(run)))``.

Modules: `model` (the nets, blind as published or with masks of the cells), `objective`,
`conjugate_directions` (the iteration for any direction), `solver` (with guards and fallback),
`validation` (epochs judged by the solver's steps); `learned_*` is multigrid with learned
weights.

Where it does not help: one call of the published 3-D net costs as much as a whole solve by
conjugate gradients, and on the empty box a cosine transform is exact. A net that is blind to
the geometry degrades with obstacles and stalls behind thin walls or below a free surface. The
comparison at the end of every run shows it beside CG and multigrid.

Published: iterations and times of the paper's tables are not reproduced here. Ours: the
numbers and the commands that make them stand in the README.
"""
