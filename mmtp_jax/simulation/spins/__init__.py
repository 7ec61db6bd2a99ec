"""Spin flips, disordered local moments, averages over magnetic states."""
