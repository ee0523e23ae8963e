"""Accuracy of predictions: per-sample values whose mean is a loss or a reported metric."""
