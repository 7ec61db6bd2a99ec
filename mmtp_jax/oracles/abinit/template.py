"""What ``mmtp template abinit`` prints; a test compares it with the class."""

TEMPLATE = """\
# An oracle: labels from ABINIT with hard constraints on moments, numbers or vectors, for
# 'mmtp label --oracle FILE' and the key 'file' of the section [oracle] of 'mmtp learn'.
# A line '#key = value' shows the default, or an example where nothing is set by default.
# Ha is 27.2114 eV, bohr is 0.529177 Angstrom. The file names the programs that are run: it can run
# any, so use only files that you trust.

code = "abinit"

[abinit]
# Cutoff of the plane waves, and of the fine grid of PAW. Converge both.
#ecut_Ha = 20.0
#pawecutdg_Ha = 40.0

# Width in which plane waves fade out below the cutoff; 0 makes the stress wrong.
#ecutsm_Ha = 0.5

# Largest distance of k-points, 1/Angstrom, with the factor 2 pi, from which one mesh follows for
# all cells alike; or the mesh itself.
#kspacing = 0.3
#kmesh = [4, 4, 4]
#kshift = [0.5, 0.5, 0.5]

# Smearing of the occupations: fermi-dirac, cold, methfessel-paxton or gaussian; its width.
#smearing = "gaussian"
#smearing_Ha = 0.01

# Bands above those that half the electrons fill; or the number of bands itself. Twice as many for
# vectors.
#empty_bands_per_atom = 5.0
#bands = 26

# Largest residual of the potential, most steps of the self-consistency, and how many ways to
# converge are tried: as it is, damped, from the density without constraint.
#tolerance = 1.0e-6
#steps = 60
#attempts = 3

# Density to start from: "atoms", or "free", that of a calculation without constraint. With DFT+U
# labels from both should agree; there may be several minima.
#start = "atoms"

# Species whose moments are held; all by default. With [] moments go to equilibrium, and magnetic
# forces are zero.
#constrained = ["Cr"]

# Width of the edge of the spheres that define moments, and step of the search for the constraint,
# 0.01 by default for vectors.
#sphere_smearing_bohr = 0.05
#magcon_lambda = 0.05

# ABINIT's usepawu, for the species in the section [abinit.hubbard].
#hubbard_kind = 1

# Use the symmetry of cell, atoms and collinear targets: the same labels of ideal cells from fewer
# k-points. The mesh must have it as well.
#symmetry = false

# Name or path, what starts it in parallel, and threads of each process.
#executable = "abinit"
#mpi = "mpirun -np 4"
#threads = 1

# PAW datasets in XML by species: a path, or a name in the folders of the Debian packages
# abinit-data ("Fe.xml") and gpaw-data ("Fe.PBE.gz").
[abinit.datasets]
Fe = "Fe.xml"

# Radii of the spheres, bohr; those of the datasets by default. Spheres must not overlap.
#[abinit.radii_bohr]
#Fe = 2.12

# DFT+U: angular momentum, U in eV, J in eV.
#[abinit.hubbard]
#Cr = [2, 3.0, 0.0]

# More variables of ABINIT.
#[abinit.extra]
#ngfft = [20, 20, 20]
"""
