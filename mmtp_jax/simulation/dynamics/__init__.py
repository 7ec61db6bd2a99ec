"""Molecular dynamics of replicas, moments equilibrated along the way."""
