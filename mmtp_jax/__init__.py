"""Magnetic moment tensor potentials in JAX.

>>> import mmtp_jax as mmtp
>>> atoms_list = mmtp.read("train.cfg", species=("Fe", "Al"))
>>> pot = mmtp.Potential.new(level=12, species=("Fe", "Al"))
>>> fit = mmtp.fit(pot, atoms_list, validation=0.1)
>>> mmtp.save("pot.mtp", fit.potential)

Public names are imported when they are first used, so that ``mmtp --help`` needs no JAX.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from mmtp_jax.active.active_set import ActiveSet
    from mmtp_jax.active.candidates import CandidateStore
    from mmtp_jax.active.learning import Learned, learn
    from mmtp_jax.active.learning_options import LearnOptions
    from mmtp_jax.active.learning_simulations import DynamicsRun, EquilibrationRun
    from mmtp_jax.active.preselection import Preselection, Thresholds
    from mmtp_jax.active.select import Selection, select
    from mmtp_jax.api import (
        cross_validate,
        evaluate,
        fit,
        fit_ensemble,
        scan_weights,
        screen,
        split,
    )
    from mmtp_jax.fitting.coverage import CoverageWarning
    from mmtp_jax.fitting.cross_validation import CrossValidation, WeightScan
    from mmtp_jax.fitting.ensemble import EnsembleFit
    from mmtp_jax.fitting.fit import Fit, FitOptions
    from mmtp_jax.fitting.weights import Weights
    from mmtp_jax.interfaces.calculator import MMTPCalculator
    from mmtp_jax.interfaces.dynamics import MDResult, md
    from mmtp_jax.interfaces.equilibration import Equilibration, equilibrate
    from mmtp_jax.interfaces.executors import ExecutorSettings, make_executor, read_executor
    from mmtp_jax.interfaces.export import (
        ExportedPotential,
        export_potential,
        load_exported,
        save_exported,
    )
    from mmtp_jax.interfaces.functional import (
        energy,
        graph,
        loss,
        move,
        observables,
        targets,
    )
    from mmtp_jax.interfaces.relaxation import Relaxation, relax
    from mmtp_jax.interfaces.spins import montecarlo, sample_disorder
    from mmtp_jax.io.formats import read, write
    from mmtp_jax.io.mtp import load, save
    from mmtp_jax.io.schema import set_magnetic_forces
    from mmtp_jax.oracles.abinit.oracle import AbinitOracle
    from mmtp_jax.oracles.configure import read_oracle
    from mmtp_jax.oracles.jobs import label_all
    from mmtp_jax.oracles.teacher import PotentialOracle
    from mmtp_jax.oracles.vasp import VaspOracle
    from mmtp_jax.potential.potential import Potential
    from mmtp_jax.precision import double_precision
    from mmtp_jax.properties.differentiable import DifferentiableQuasiHarmonic, DifferentiableState
    from mmtp_jax.properties.dos import VibrationalDOS
    from mmtp_jax.properties.elastic import elastic_constants, paramagnetic_elastic_constants
    from mmtp_jax.properties.elastic_results import ElasticConstants
    from mmtp_jax.properties.eos import EquationOfState, equation_of_state
    from mmtp_jax.properties.expansion import ThermalExpansion
    from mmtp_jax.properties.formation import FormationEnergies, formation_energies
    from mmtp_jax.properties.phonon_results import ImaginaryModesWarning, Phonons
    from mmtp_jax.properties.phonons import paramagnetic_phonons, phonons
    from mmtp_jax.properties.quasiharmonic import quasiharmonic
    from mmtp_jax.properties.quasiharmonic_fit import QuasiHarmonic
    from mmtp_jax.properties.response import Response, UnstableStateError
    from mmtp_jax.properties.second_derivatives import response
    from mmtp_jax.properties.vibrations import thermal_expansion, vibrational_dos
    from mmtp_jax.simulation.moments.collapse import EquilibrationWarning
    from mmtp_jax.structures.domain import (
        ExtrapolationWarning,
        MissingMomentsWarning,
        NoNeighboursWarning,
    )
    from mmtp_jax.structures.results import Result
    from mmtp_jax.structures.screening import OutlierWarning
    from mmtp_jax.structures.units import UnitsWarning

__version__ = "0.1.0"

_HOMES = {
    "AbinitOracle": "oracles.abinit.oracle",
    "ActiveSet": "active.active_set",
    "CandidateStore": "active.candidates",
    "CoverageWarning": "fitting.coverage",
    "CrossValidation": "fitting.cross_validation",
    "DifferentiableQuasiHarmonic": "properties.differentiable",
    "DifferentiableState": "properties.differentiable",
    "DynamicsRun": "active.learning_simulations",
    "ElasticConstants": "properties.elastic_results",
    "EnsembleFit": "fitting.ensemble",
    "EquationOfState": "properties.eos",
    "Equilibration": "interfaces.equilibration",
    "EquilibrationRun": "active.learning_simulations",
    "EquilibrationWarning": "simulation.moments.collapse",
    "ExecutorSettings": "interfaces.executors",
    "ExportedPotential": "interfaces.export",
    "ExtrapolationWarning": "structures.domain",
    "Fit": "fitting.fit",
    "FitOptions": "fitting.fit",
    "FormationEnergies": "properties.formation",
    "ImaginaryModesWarning": "properties.phonon_results",
    "LearnOptions": "active.learning_options",
    "Learned": "active.learning",
    "MDResult": "interfaces.dynamics",
    "MMTPCalculator": "interfaces.calculator",
    "MissingMomentsWarning": "structures.domain",
    "NoNeighboursWarning": "structures.domain",
    "OutlierWarning": "structures.screening",
    "Phonons": "properties.phonon_results",
    "Potential": "potential.potential",
    "PotentialOracle": "oracles.teacher",
    "Preselection": "active.preselection",
    "QuasiHarmonic": "properties.quasiharmonic_fit",
    "Relaxation": "interfaces.relaxation",
    "Response": "properties.response",
    "Result": "structures.results",
    "Selection": "active.select",
    "ThermalExpansion": "properties.expansion",
    "Thresholds": "active.preselection",
    "UnitsWarning": "structures.units",
    "UnstableStateError": "properties.response",
    "VaspOracle": "oracles.vasp",
    "VibrationalDOS": "properties.dos",
    "WeightScan": "fitting.cross_validation",
    "Weights": "fitting.weights",
    "cross_validate": "api",
    "double_precision": "precision",
    "elastic_constants": "properties.elastic",
    "energy": "interfaces.functional",
    "equation_of_state": "properties.eos",
    "equilibrate": "interfaces.equilibration",
    "evaluate": "api",
    "export_potential": "interfaces.export",
    "fit": "api",
    "fit_ensemble": "api",
    "formation_energies": "properties.formation",
    "graph": "interfaces.functional",
    "label_all": "oracles.jobs",
    "learn": "active.learning",
    "load": "io.mtp",
    "load_exported": "interfaces.export",
    "loss": "interfaces.functional",
    "make_executor": "interfaces.executors",
    "md": "interfaces.dynamics",
    "montecarlo": "interfaces.spins",
    "move": "interfaces.functional",
    "observables": "interfaces.functional",
    "paramagnetic_elastic_constants": "properties.elastic",
    "paramagnetic_phonons": "properties.phonons",
    "phonons": "properties.phonons",
    "quasiharmonic": "properties.quasiharmonic",
    "read": "io.formats",
    "read_executor": "interfaces.executors",
    "read_oracle": "oracles.configure",
    "relax": "interfaces.relaxation",
    "response": "properties.second_derivatives",
    "sample_disorder": "interfaces.spins",
    "save": "io.mtp",
    "save_exported": "interfaces.export",
    "scan_weights": "api",
    "screen": "api",
    "select": "active.select",
    "set_magnetic_forces": "io.schema",
    "split": "api",
    "targets": "interfaces.functional",
    "thermal_expansion": "properties.vibrations",
    "vibrational_dos": "properties.vibrations",
    "write": "io.formats",
}
"""Public names and the module that each is in."""

__all__ = [
    "AbinitOracle",
    "ActiveSet",
    "CandidateStore",
    "CoverageWarning",
    "CrossValidation",
    "DifferentiableQuasiHarmonic",
    "DifferentiableState",
    "DynamicsRun",
    "ElasticConstants",
    "EnsembleFit",
    "EquationOfState",
    "Equilibration",
    "EquilibrationRun",
    "EquilibrationWarning",
    "ExecutorSettings",
    "ExportedPotential",
    "ExtrapolationWarning",
    "Fit",
    "FitOptions",
    "FormationEnergies",
    "ImaginaryModesWarning",
    "LearnOptions",
    "Learned",
    "MDResult",
    "MMTPCalculator",
    "MissingMomentsWarning",
    "NoNeighboursWarning",
    "OutlierWarning",
    "Phonons",
    "Potential",
    "PotentialOracle",
    "Preselection",
    "QuasiHarmonic",
    "Relaxation",
    "Response",
    "Result",
    "Selection",
    "ThermalExpansion",
    "Thresholds",
    "UnitsWarning",
    "UnstableStateError",
    "VaspOracle",
    "VibrationalDOS",
    "WeightScan",
    "Weights",
    "cross_validate",
    "double_precision",
    "elastic_constants",
    "energy",
    "equation_of_state",
    "equilibrate",
    "evaluate",
    "export_potential",
    "fit",
    "fit_ensemble",
    "formation_energies",
    "graph",
    "label_all",
    "learn",
    "load",
    "load_exported",
    "loss",
    "make_executor",
    "md",
    "montecarlo",
    "move",
    "observables",
    "paramagnetic_elastic_constants",
    "paramagnetic_phonons",
    "phonons",
    "quasiharmonic",
    "read",
    "read_executor",
    "read_oracle",
    "relax",
    "response",
    "sample_disorder",
    "save",
    "save_exported",
    "scan_weights",
    "screen",
    "select",
    "set_magnetic_forces",
    "split",
    "targets",
    "thermal_expansion",
    "vibrational_dos",
    "write",
]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
