"""Properties of a relaxed state as differentiable functions of the potential's parameters.

`mmtp_jax.DifferentiableState` and `mmtp_jax.DifferentiableQuasiHarmonic` make the states that these
functions take; all of them go under ``jit``, ``vmap`` and first derivatives.
"""

from mmtp_jax.properties.implicit import Curvature as Curvature
from mmtp_jax.properties.implicit import RelaxedState as RelaxedState
from mmtp_jax.properties.implicit import bulk_modulus as bulk_modulus
from mmtp_jax.properties.implicit import curvature as curvature
from mmtp_jax.properties.implicit import elastic_tensor as elastic_tensor
from mmtp_jax.properties.implicit import frequencies as frequencies
from mmtp_jax.properties.implicit import harmonic_free_energy as harmonic_free_energy
from mmtp_jax.properties.implicit import lattice_parameter as lattice_parameter
from mmtp_jax.properties.implicit import squared_frequencies as squared_frequencies
from mmtp_jax.properties.implicit import vibrational_free_energy as vibrational_free_energy
from mmtp_jax.properties.implicit_thermal import HarmonicVolumes as HarmonicVolumes
from mmtp_jax.properties.implicit_thermal import ThermalState as ThermalState
from mmtp_jax.properties.implicit_thermal import thermal_state as thermal_state
