"""Equations on boxes: residuals on jets, conditions, exact solutions, and a gallery of them."""
