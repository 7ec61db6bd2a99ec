"""What ``mmtp template vasp`` prints; a test compares it with the class."""

TEMPLATE = """\
# An oracle: labels from VASP with softly constrained moments, numbers or vectors (Burov 2026,
# supplement S1), for 'mmtp label --oracle FILE' and the key 'file' of the section [oracle] of
# 'mmtp learn'.
# A line '#key = value' shows the default, or an example where nothing is set by default.
# This workflow was tried against a stand-in for VASP only: look at the first jobs closely.
# The file names the programs that are run: it can run any, so use only files that you trust.

code = "vasp"

[vasp]
# Library of POTCAR files, and the folder in it for each species, in the order of POSCAR.
potcar_folder = "potpaw_PBE"
potentials = {Fe = "Fe_pv", Pd = "Pd"}

# What starts the noncollinear and the collinear executable; they run in folders of their own.
#command = "vasp_ncl"
#collinear_command = "vasp_std"

# ENCUT, and the largest spacing of the Gamma-centred mesh, 1/Angstrom, with the factor 2 pi, from
# which one mesh follows for all cells alike; or the mesh itself.
#cutoff_ev = 500.0
#kpoint_spacing = 0.2
#kmesh = [4, 4, 4]

# Direction of collinear moments. VASP reads the collinear density that the first constrained
# calculation starts from as one along z.
#axis = "x"

# RWIGS before the spheres are rescaled to fill the cell, Angstrom; those of POTCAR by default.
#radii = {Fe = 1.302, Pd = 1.434}

# LAMBDA, eV/mu_B^2: of the calculation that relates the moments of VASP to each other, and of those
# that follow until the criteria hold.
#first_weight = 0.01
#weights = [2.0, 5.0, 10.0, 20.0, 30.0, 40.0]

# Criteria while LAMBDA rises: errors of the smoothed moments, mu_B, and penalty, eV per atom.
#largest_error = 0.03
#mean_error = 0.02
#penalty_ev = 0.01

# Criteria for the label: errors of the moments of OUTCAR, mu_B. They are larger than those of the
# smoothed moments by the slope of M_int against MW_int.
#accepted_largest_error = 0.03
#accepted_mean_error = 0.02

# Estimate magnetic forces from the constraint; the paper fits without them.
#magnetic_forces = false

# Keep WAVECAR and CHGCAR of all calculations.
#keep_densities = false

# Further tags of INCAR, in capitals; a table gives a value for each species.
[vasp.incar]
#NPAR = 4
#LDAUU = {Fe = 4.0, Pd = 0.0}

# The same for constrained calculations alone.
[vasp.incar_constrained]
#NBANDS = 850
"""
