"""Labellers: what computes energy, forces, stress and magnetic forces at prescribed moments."""
