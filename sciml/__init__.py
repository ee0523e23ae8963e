"""sciml: PDE surrogates and PDE solvers."""
