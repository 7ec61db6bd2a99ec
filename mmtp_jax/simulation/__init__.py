"""Simulations with magnetic moments: equilibration, relaxation, dynamics, spin flips."""
