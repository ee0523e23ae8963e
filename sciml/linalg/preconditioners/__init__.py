"""Preconditioners: linear operators M ≈ A⁻¹, one idea a file."""
