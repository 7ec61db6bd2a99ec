"""Classes of what the verbs return, for annotations and ``isinstance``."""

from mmtp_jax.active.learning import Learned as Learned
from mmtp_jax.fitting.cross_validation import CrossValidation as CrossValidation
from mmtp_jax.fitting.cross_validation import WeightScan as WeightScan
from mmtp_jax.fitting.ensemble import EnsembleFit as EnsembleFit
from mmtp_jax.fitting.fit import Fit as Fit
from mmtp_jax.interfaces.dynamics import MDResult as MDResult
from mmtp_jax.interfaces.equilibration import Equilibration as Equilibration
from mmtp_jax.interfaces.export import ExportedPotential as ExportedPotential
from mmtp_jax.interfaces.relaxation import Relaxation as Relaxation
from mmtp_jax.oracles.convergence_results import Convergence as Convergence
from mmtp_jax.properties.dos import VibrationalDOS as VibrationalDOS
from mmtp_jax.properties.elastic_results import ElasticConstants as ElasticConstants
from mmtp_jax.properties.eos import EquationOfState as EquationOfState
from mmtp_jax.properties.exchange_results import Exchange as Exchange
from mmtp_jax.properties.expansion import ThermalExpansion as ThermalExpansion
from mmtp_jax.properties.formation import FormationEnergies as FormationEnergies
from mmtp_jax.properties.magnetic_order import MagneticWave as MagneticWave
from mmtp_jax.properties.magnon_results import Magnons as Magnons
from mmtp_jax.properties.phonon_results import Phonons as Phonons
from mmtp_jax.properties.quasiharmonic_fit import QuasiHarmonic as QuasiHarmonic
from mmtp_jax.properties.response import Response as Response
from mmtp_jax.properties.structure_factor_results import SpinStructureFactor as SpinStructureFactor
from mmtp_jax.structures.results import CommitteeResult as CommitteeResult
from mmtp_jax.structures.results import Result as Result
