"""Multigrid on cells of a grid: CCMG and what it is made of."""
