"""Solvers of linear systems: one method a file, one iteration loop for all of them."""
