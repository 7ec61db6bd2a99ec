"""Equilibration of moments at fixed positions."""
