"""Atoms as arrays: structures with labels, neighbours, and batches of padded arrays."""
