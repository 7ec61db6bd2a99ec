"""Fitting: the loss, optimisers, initial values, checkpoints and the error report."""
