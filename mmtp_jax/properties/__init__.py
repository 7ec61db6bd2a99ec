"""What potentials are for: elastic constants, equations of state, formation energies, phonons."""
