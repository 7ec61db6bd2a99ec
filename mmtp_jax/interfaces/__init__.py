"""The verbs on ASE atoms, and what other programs see: calculator, executors, export, LAMMPS."""
