"""Relaxation of positions, cell and moments."""
