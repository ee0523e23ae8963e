"""PDE solvers: the interface that all of them share, and the classical baseline."""
