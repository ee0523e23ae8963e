"""Structured linear operators and the solvers that act on them."""
