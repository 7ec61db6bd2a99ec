"""Public names and where each is; `__init__.py` reads them from here, as type checkers do."""

from mmtp_jax import implicit as implicit
from mmtp_jax import lammps as lammps
from mmtp_jax import results as results
from mmtp_jax.active.active_set import ActiveSet as ActiveSet
from mmtp_jax.active.candidates import CandidateStore as CandidateStore
from mmtp_jax.active.learning import learn as learn
from mmtp_jax.active.learning_simulations import DynamicsRun as DynamicsRun
from mmtp_jax.active.learning_simulations import EquilibrationRun as EquilibrationRun
from mmtp_jax.active.options import LearnOptions as LearnOptions
from mmtp_jax.active.options import Thresholds as Thresholds
from mmtp_jax.active.preselection import Preselection as Preselection
from mmtp_jax.active.select import Selection as Selection
from mmtp_jax.active.select import select as select
from mmtp_jax.api import cross_validate as cross_validate
from mmtp_jax.api import evaluate as evaluate
from mmtp_jax.api import fit as fit
from mmtp_jax.api import fit_ensemble as fit_ensemble
from mmtp_jax.api import scan_weights as scan_weights
from mmtp_jax.api import screen as screen
from mmtp_jax.api import split as split
from mmtp_jax.fitting.coverage import CoverageWarning as CoverageWarning
from mmtp_jax.fitting.options import FitOptions as FitOptions
from mmtp_jax.fitting.weights import Weights as Weights
from mmtp_jax.interfaces.calculator import MMTPCalculator as MMTPCalculator
from mmtp_jax.interfaces.dynamics import md as md
from mmtp_jax.interfaces.equilibration import equilibrate as equilibrate
from mmtp_jax.interfaces.executors import ExecutorSettings as ExecutorSettings
from mmtp_jax.interfaces.executors import make_executor as make_executor
from mmtp_jax.interfaces.executors import read_executor as read_executor
from mmtp_jax.interfaces.export import export_potential as export_potential
from mmtp_jax.interfaces.export import load_exported as load_exported
from mmtp_jax.interfaces.export import save_exported as save_exported
from mmtp_jax.interfaces.functional import energy as energy
from mmtp_jax.interfaces.functional import graph as graph
from mmtp_jax.interfaces.functional import loss as loss
from mmtp_jax.interfaces.functional import move as move
from mmtp_jax.interfaces.functional import observables as observables
from mmtp_jax.interfaces.functional import targets as targets
from mmtp_jax.interfaces.relaxation import relax as relax
from mmtp_jax.interfaces.spins import montecarlo as montecarlo
from mmtp_jax.interfaces.spins import sample_disorder as sample_disorder
from mmtp_jax.io.compilation_cache import compilation_cache as compilation_cache
from mmtp_jax.io.formats import read as read
from mmtp_jax.io.formats import write as write
from mmtp_jax.io.mtp import load as load
from mmtp_jax.io.mtp import save as save
from mmtp_jax.io.schema import set_magnetic_forces as set_magnetic_forces
from mmtp_jax.oracles.abinit.oracle import AbinitOracle as AbinitOracle
from mmtp_jax.oracles.configure import read_oracle as read_oracle
from mmtp_jax.oracles.jobs import label_all as label_all
from mmtp_jax.oracles.teacher import PotentialOracle as PotentialOracle
from mmtp_jax.oracles.vasp import VaspOracle as VaspOracle
from mmtp_jax.potential.potential import Potential as Potential
from mmtp_jax.precision import double_precision as double_precision
from mmtp_jax.properties.differentiable import (
    DifferentiableQuasiHarmonic as DifferentiableQuasiHarmonic,
)
from mmtp_jax.properties.differentiable import DifferentiableState as DifferentiableState
from mmtp_jax.properties.elastic import elastic_constants as elastic_constants
from mmtp_jax.properties.elastic import (
    paramagnetic_elastic_constants as paramagnetic_elastic_constants,
)
from mmtp_jax.properties.eos import equation_of_state as equation_of_state
from mmtp_jax.properties.formation import formation_energies as formation_energies
from mmtp_jax.properties.phonon_results import ImaginaryModesWarning as ImaginaryModesWarning
from mmtp_jax.properties.phonons import paramagnetic_phonons as paramagnetic_phonons
from mmtp_jax.properties.phonons import phonons as phonons
from mmtp_jax.properties.quasiharmonic import quasiharmonic as quasiharmonic
from mmtp_jax.properties.response import UnstableStateError as UnstableStateError
from mmtp_jax.properties.second_derivatives import response as response
from mmtp_jax.properties.vibrations import thermal_expansion as thermal_expansion
from mmtp_jax.properties.vibrations import vibrational_dos as vibrational_dos
from mmtp_jax.simulation.moments.collapse import EquilibrationWarning as EquilibrationWarning
from mmtp_jax.structures.domain import ExtrapolationWarning as ExtrapolationWarning
from mmtp_jax.structures.domain import MissingMomentsWarning as MissingMomentsWarning
from mmtp_jax.structures.domain import NoNeighboursWarning as NoNeighboursWarning
from mmtp_jax.structures.screening import OutlierWarning as OutlierWarning
from mmtp_jax.structures.units import UnitsWarning as UnitsWarning

__version__: str
