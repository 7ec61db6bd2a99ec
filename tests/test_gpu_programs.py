"""What GPUs are given: programs lowered for CUDA, and the same way run on the CPU."""

import importlib
import re
from functools import partial
from pathlib import Path
from types import SimpleNamespace

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import mmtp_jax as mmtp
from mmtp_jax.active.active_set import ActiveSet
from mmtp_jax.active.preselection import Preselection
from mmtp_jax.fitting.dataset import make_targets
from mmtp_jax.fitting.loss import loss
from mmtp_jax.fitting.weights import Weights
from mmtp_jax.interfaces import evaluation
from mmtp_jax.interfaces.export import export_potential
from mmtp_jax.interfaces.lammps.pairs import PairRows, evaluate_pairs
from mmtp_jax.potential.displacement import displaced
from mmtp_jax.potential.jacobian import energy_jacobian, site_jacobian
from mmtp_jax.potential.noncollinear_coefficients import NoncollinearTerms
from mmtp_jax.potential.observables import (
    Observables,
    energies,
    evaluate,
    observables,
    parameter_gradient,
)
from mmtp_jax.precision import require_precision, with_floats
from mmtp_jax.properties.transverse import transverse_rows
from mmtp_jax.simulation.dynamics.loop import before_start, take_steps
from mmtp_jax.simulation.dynamics.options import DynamicsOptions
from mmtp_jax.simulation.dynamics.run import Run
from mmtp_jax.simulation.dynamics.thermostats import keys_of
from mmtp_jax.simulation.moments.lbfgs import empty_memory
from mmtp_jax.simulation.moments.structures import equilibrate_batch
from mmtp_jax.simulation.neighbours import structures_of
from mmtp_jax.simulation.relaxation.loop import relax_steps
from mmtp_jax.simulation.relaxation.options import RelaxOptions
from mmtp_jax.simulation.relaxation.run import RelaxModel, RelaxRun
from mmtp_jax.simulation.spins import run as spin_run
from mmtp_jax.simulation.spins.loop import take_sweeps
from mmtp_jax.simulation.spins.options import SpinOptions
from mmtp_jax.simulation.spins.run import SpinRun
from mmtp_jax.simulation.system import system_of
from mmtp_jax.structures import batch, neighbour_list
from mmtp_jax.structures.batch import make_batches
from mmtp_jax.structures.structure import Structure

LEVEL = 4
N_STEPS = 3
SCRIPTS = Path(__file__).parent.parent / "scripts"
LOOPS = """
HloModule steps

%inner (x: (s32[], f32[4])) -> (s32[], f32[4]) {
  %x = (s32[], f32[4]) parameter(0)
  %n = s32[] get-tuple-element(%x), index=0
  %a = f32[4] get-tuple-element(%x), index=1
  %b = f32[4] negate(%a)
  ROOT %r = (s32[], f32[4]) tuple(%n, %b)
}

%always (x: (s32[], f32[4])) -> pred[] {
  %x = (s32[], f32[4]) parameter(0)
  ROOT %yes = pred[] constant(true)
}

%below (x: (s32[], f32[4])) -> pred[] {
  %x = (s32[], f32[4]) parameter(0)
  %n = s32[] get-tuple-element(%x), index=0
  %most = s32[] constant(9)
  ROOT %less = pred[] compare(%n, %most), direction=LT
}

%step (x: (s32[], f32[4])) -> (s32[], f32[4]) {
  %x = (s32[], f32[4]) parameter(0)
  %n = s32[] get-tuple-element(%x), index=0
  %a = f32[4] get-tuple-element(%x), index=1
  %b = f32[4] sqrt(%a)
  %c = (s32[], f32[4]) tuple(%n, %b)
  ROOT %w = (s32[], f32[4]) while(%c), condition=%always, body=%inner, backend_config={"known_trip_count":{"n":"3"}}
}

ENTRY %main (n: s32[], a: f32[4]) -> (s32[], f32[4]) {
  %n = s32[] parameter(0)
  %a = f32[4] parameter(1)
  %b = f32[4] exponential(%a)
  %c = (s32[], f32[4]) tuple(%n, %b)
  ROOT %w = (s32[], f32[4]) while(%c), condition=%below, body=%step
}
"""  # noqa: E501


@pytest.fixture(scope="module")
def lists():
    """lists(yes): whether graphs and lists of neighbours know the terms of sums."""
    with pytest.MonkeyPatch.context() as patch:

        def of(yes):
            for module in (batch, neighbour_list):
                patch.setattr(module, "adds_by_gathering", lambda: yes)

        yield of


@pytest.fixture(scope="module")
def potentials(random_potential):
    """One of each form."""
    rng = np.random.default_rng(5)
    parity = mmtp.Potential.new(
        level=LEVEL, species=("Fe", "Al"), form="parity", radial_size=4, min_dist=1.6, cutoff=4.0,
        max_magmom=3.0,
    )  # fmt: skip
    return {
        "parity": parity.replace(
            moment_coeffs=rng.normal(size=parity.tables.n_scalars),
            species_coeffs=rng.normal(size=2),
        ),
        "symmetrised": random_potential(3, level=LEVEL),
    }


def with_terms(potential):
    """With one function of noncollinear terms."""
    terms = potential.with_noncollinear_terms(1).noncollinear
    dtype, linear = potential.radial_coeffs.dtype, potential.moment_coeffs.dtype
    return potential.replace(
        noncollinear=NoncollinearTerms(
            np.ones_like(terms.coeffs, linear), terms.radial.astype(dtype)
        )
    )


@pytest.fixture(scope="module")
def structures(random_structure, labelled, potentials):
    """Of several sizes, labelled."""
    of = [random_structure(k, n) for k, n in enumerate((3, 6, 1))]
    return labelled(potentials["symmetrised"], of)


@pytest.fixture(scope="module")
def programs(lists, structures, potentials):
    """programs(gathering, form, dtype): name -> (function, arguments)."""

    def of(gathering, form, dtype="float64"):
        lists(gathering)
        precision = require_precision(dtype)
        potential = potentials[form].astype(*precision)
        (packed,) = make_batches(structures, float(potential.cutoff))
        graph = with_floats(packed.graph, precision.edges)
        n, c = graph.magmoms.shape[0], graph.n_configurations
        angles = np.arange(n)
        directions = np.stack([np.cos(angles), 0 * angles, np.sin(angles)], axis=1)
        canted = graph._replace(
            magmoms=(graph.magmoms[:, None] * directions).astype(precision.edges)
        )
        shapes = ((c,), (n, 3), (c, 3, 3), (n, 3))
        along = np.outer(graph.magmoms, [0.6, 0.0, 0.8]).astype(precision.edges)
        (targets,) = with_floats(make_targets(structures, [packed], Weights()), precision.edges)
        whole = {
            "displacements": np.zeros((n, 3)),
            "magmom_changes": np.zeros(n),
            "strain": np.zeros((c, 3, 3)),
        }

        def total(change):
            return jnp.sum(energies(potential, displaced(graph, **change)))

        found = {
            "evaluation": (evaluate, (potential, graph)),
            "evaluation in blocks": (partial(evaluate, chunk=8), (potential, graph)),
            "evaluation of vectors": (evaluate, (potential, graph._replace(magmoms=along))),
            "evaluation of members": (
                partial(evaluation.evaluate_members, chunk=8),
                (jax.tree.map(lambda leaf: np.stack([leaf] * 2), potential), graph),
            ),
            "gradient by positions": (jax.grad(total), (with_floats(whole, precision.edges),)),
        }
        if precision.edges == precision.contraction:
            found |= {
                "rows": (energy_jacobian, (potential, graph)),
                "rows of atoms": (partial(site_jacobian, chunk=8), (potential, graph)),
                "turns": (
                    transverse_rows,
                    (potential, graph._replace(magmoms=along), np.arange(4).reshape(2, 2)),
                ),
                "loss and gradient": (
                    jax.value_and_grad(partial(loss, chunk=8)),
                    (jnp.asarray(potential.flatten()), potential, [targets]),
                ),
                "observables along": (
                    lambda theta, dot: jax.jvp(
                        lambda t: observables(t, potential, graph), (theta,), (dot,)
                    )[1],
                    (potential.flatten(), jnp.ones(potential.n_parameters, precision.edges)),
                ),
            }
        if form == "parity":
            terms = with_terms(potential)
            found["evaluation of canted vectors"] = (evaluate, (terms, canted))
            if precision.edges == precision.contraction:
                found["rows of canted vectors"] = (energy_jacobian, (terms, canted))
                found["gradient of canted vectors"] = (
                    parameter_gradient,
                    (
                        jnp.asarray(terms.flatten()), terms, canted,
                        Observables(*(jnp.ones(shape) for shape in shapes)),
                    ),
                )  # fmt: skip
        return found

    return of


@pytest.fixture(scope="module")
def steps(lists, iron):
    """steps(gathering, dtype, **options): what `take_steps` is called with, for two replicas."""

    def of(gathering, dtype="float64", *, watch=None, **options):
        lists(gathering)
        options = DynamicsOptions(
            **{"ensemble": "nve", "timestep_fs": 1.0, "dtype": dtype, **options},
            chunk_steps=N_STEPS,
        )
        rng = np.random.default_rng(1)
        shape = (N_ATOMS, 3)
        system = system_of(
            replicas(rng), np.full(N_ATOMS, 55.8), rng.normal(0.0, 0.003, (2, *shape))
        )
        if options.spins == "dynamics":
            system = system._replace(magmoms=system.magmoms[..., None] * np.array([0.6, 0.0, 0.8]))
        run = Run(iron, system, options, watch=watch)
        run.search(structures_of(system), n_atoms=run.n_padded)
        state = before_start(
            system,
            keys_of(range(2)),
            run.neighbours.index.shape[0],
            run.model.potential.radial_coeffs.dtype,
            run.speeds(keys_of(range(2))),
        )
        watched = None if watch is None else watch.start(state.system)
        return (
            run.plan, run.model, run.bath, run.rules, state, run.neighbours, N_STEPS,
            watch, watched, run.spin_sites,
        )  # fmt: skip

    return of


@pytest.fixture(scope="module")
def relaxations(lists, iron):
    """relaxations(gathering, dtype): what `relax_steps` is called with, for two cells of iron."""

    def of(gathering, dtype="float64"):
        lists(gathering)
        options = RelaxOptions(cell="full", dtype=dtype, pressure_GPa=1.0)
        found = [*replicas(np.random.default_rng(2)), *lone(np.random.default_rng(3))]
        run = RelaxRun(RelaxModel(iron, options), found, (40, 4), 20)
        assert (run.problem.sums is not None) == gathering
        model = run.model
        return (
            run.plan, model.on_device, model.constants, run.problem, model.limits, run.state,
            run.neighbours, N_STEPS,
        )  # fmt: skip

    return of


N_ATOMS = 16


def replicas(rng):
    """Two of warm iron."""
    corners = np.stack(np.meshgrid(*[range(2)] * 3, indexing="ij"), -1).reshape(-1, 3)
    return [
        iron_cell(rng, 5.7 * np.eye(3), 2.85 * np.concatenate([corners, corners + 0.5]), k)
        for k in range(2)
    ]


def lone(rng):
    """One of another size."""
    return [iron_cell(rng, 2.85 * np.eye(3), 2.85 * np.array([[0.0] * 3, [0.5] * 3]), 2)]


def iron_cell(rng, cell, positions, k):
    return Structure(
        cell=cell,
        periodic=np.ones(3, bool),
        positions=positions + rng.normal(0.0, 0.05, positions.shape),
        types=np.zeros(len(positions), np.int32),
        magmoms=rng.uniform(1.8, 2.4, len(positions)),
        name=f"replica {k}",
    )


def lowered(function, arguments, **options):
    traced = jax.jit(function, **options).trace(*arguments)
    return traced.lower(lowering_platforms=("cuda",)).as_text()


def check(text, stores=False):
    """No sum in an order of chance, nothing that is slow or on the host, and no rounded product.

    ``stores``: numbers may be put at places of which no two are the same.
    """
    if stores:
        text = re.sub(r'"stablehlo\.scatter"[^\n]*unique_indices = true', "", text)
    found = set(
        re.findall(r"stablehlo\.(\w*scatter|sort|custom_call|infeed|outfeed|send|recv)\b", text)
    )
    assert not found, found
    assert "callback" not in text
    assert 'inlineable = "false"' not in text
    for line in text.splitlines():
        if "stablehlo.dot" in line and "xf32>" in line:
            assert "precision = [HIGHEST, HIGHEST]" in line, line


@pytest.mark.parametrize(
    ("form", "dtype"), [("parity", "float32"), ("symmetrised", "float64"), ("parity", "mixed")]
)
def test_programs_for_gpus_have_no_scatter(programs, form, dtype):
    for function, arguments in programs(True, form, dtype).values():
        check(lowered(function, arguments))


def test_the_check_would_find_a_scatter_and_a_rounded_product(programs):
    function, arguments = programs(False, "parity")["evaluation"]
    for stores in (False, True):
        with pytest.raises(AssertionError, match="scatter"):
            check(lowered(function, arguments), stores)
    x = np.ones((2, 2), np.float32)
    with pytest.raises(AssertionError, match="dot"):
        check(lowered(jnp.dot, (x, x)))


ENSEMBLES = [
    {"moments": "fixed"},
    {"ensemble": "nvt", "thermostat": "langevin"},
    {"ensemble": "nvt", "thermostat": "bussi", "moments": "fixed"},
    {"ensemble": "nvt", "thermostat": "nose-hoover", "moments_every": 2},
    {"ensemble": "npt", "barostat": "isotropic", "moments": "fixed"},
    {"ensemble": "npt", "barostat": "full"},
    {"ensemble": "nvt", "spins": "dynamics"},
    {"spins": "dynamics", "lengths": "equilibrate", "fixed_atoms": True},
]


@pytest.mark.parametrize("options", ENSEMBLES, ids=str)
def test_steps_of_dynamics_have_no_scatter(steps, options):
    check(lowered(take_steps, steps(True, "float32", **options), static_argnums=0))


@pytest.mark.parametrize("mode", ["configuration", "neighborhood"])
def test_grades_and_what_is_kept_have_no_scatter(steps, iron, mode):
    n = iron.n_parameters
    none = np.full(n, -1)
    active = ActiveSet(iron, mode, np.eye(n), np.ones(n), none, none, 0)
    arguments = steps(True, "float32", moments="fixed", watch=Preselection.of(active))
    check(lowered(take_steps, arguments, static_argnums=0), stores=True)


@pytest.mark.parametrize("dtype", ["float32", "mixed"])
def test_relaxations_have_no_scatter(relaxations, dtype):
    check(lowered(relax_steps, relaxations(True, dtype), static_argnums=0))


def test_equilibrations_have_no_scatter(programs):
    potential, graph = programs(True, "parity", "float32")["evaluation"][1]
    given = (potential, graph, empty_memory(graph), 1e-3, 100, 0.3)
    check(lowered(partial(equilibrate_batch, allow_flips=False, chunk=None), given))


def test_pairs_of_lammps_have_no_scatter(iron):
    rows = PairRows(
        np.zeros(9, np.int64), np.arange(8) + 1, np.ones((8, 4), np.int64), np.ones((8, 4, 3))
    )
    given = (iron.astype("float32", "float32"), rows, np.ones(9))
    check(lowered(partial(evaluate_pairs, chunk=4), given))


def test_exported_programs_have_no_scatter(iron):
    program = export_potential(iron, platforms=("cuda",), dtype="float32").program
    # Sizes that are not known are compared before it runs.
    check(program.mlir_module().replace("custom_call @shape_assertion", ""))


@pytest.fixture(scope="module")
def walk(lists, iron):
    """walk(**options): of two replicas, before its start."""

    def of(**options):
        lists(True)
        system = system_of(replicas(np.random.default_rng(1)), np.ones(N_ATOMS))
        signs = np.ones(N_ATOMS)
        if options.get("move") == "turn":
            system = system._replace(magmoms=system.magmoms[..., None] * [0.6, 0.0, 0.8])
        return SpinRun(
            iron, system, np.full(2, 300.0), SpinOptions(**options), signs > 0, signs
        )  # fmt: skip

    return of


@pytest.mark.parametrize("move", ["flip", "swap", "turn"])
def test_trials_of_equilibrated_moments_have_no_scatter(walk, move):
    run = walk(move=move, dtype="float32")
    run.begin(None)
    given = (
        run.walk, 4, run.model, run.around, run.pattern, run.state, run.trial, 1, run.per_sweep
    )  # fmt: skip
    check(lowered(take_sweeps, given, static_argnums=(0, 1)), stores=True)


@pytest.mark.parametrize("case", ["evaluate", "gradient", "rows", "md-equilibrate", "search"])
def test_the_report_knows_what_programs_are_called_with(monkeypatch, case):
    monkeypatch.syspath_prepend(SCRIPTS)
    program = importlib.import_module("gpu_estimate").program
    function, given, static = program(case, 2, "parity", "float32", 192)
    assert all(hasattr(leaf, "dtype") for leaf in jax.tree.leaves(given))
    assert jax.tree.leaves(jax.eval_shape(partial(function, *static), *given))


def test_kernels_of_a_step_are_those_of_its_loop(monkeypatch):
    monkeypatch.syspath_prepend(SCRIPTS)
    step, around = importlib.import_module("gpu_hlo").cost_of_step(LOOPS)
    assert (step.kernels, around) == (1 + 3 * 1 + 1, 1)
    # Each reads an array of four float32 and writes one; the loop's condition a number.
    assert (step.read, step.written) == (16 * 4 + 8, 16 * 4 + 1)


def test_walks_at_fixed_magnitudes_stay_on_the_cpu(walk, monkeypatch):
    gpu = SimpleNamespace(platform="gpu")
    monkeypatch.setattr(spin_run, "device_in_use", lambda: gpu)
    for moments, expected in (("fixed", "cpu"), ("equilibrate", None)):
        with walk(moments=moments).device():
            assert getattr(jax.config.jax_default_device, "platform", None) == expected


def values(of):
    return {
        name: jax.device_get(jax.jit(function)(*arguments))
        for name, (function, arguments) in of.items()
    }


@pytest.fixture(scope="class")
def on_cpu(programs, steps, relaxations):
    """What the way of CPUs gives."""
    found = values(programs(False, "parity"))
    return found, take_steps(*steps(False)), relax_steps(*relaxations(False))


class TestOnTheWayOfGPUs:
    """The same numbers as on the way of CPUs."""

    def test_values(self, on_cpu, gpu_path, programs):
        found = values(programs(True, "parity"))
        for name, want in on_cpu[0].items():
            for a, b in zip(jax.tree.leaves(found[name]), jax.tree.leaves(want), strict=True):
                scale = 1e-12 * np.abs(b).max(initial=1e-3)
                np.testing.assert_allclose(a, b, rtol=0.0, atol=scale, err_msg=name)

    def test_steps(self, on_cpu, gpu_path, steps):
        found, wanted = take_steps(*steps(True)), on_cpu[1]
        assert int(found.n_done) == int(wanted.n_done) == N_STEPS
        assert np.all(found.state.known.n_equilibration == wanted.state.known.n_equilibration)
        for name in ("positions", "velocities", "magmoms"):
            a, b = (getattr(of.state.system, name) for of in (found, wanted))
            np.testing.assert_allclose(a, b, rtol=1e-8, atol=1e-8)

    def test_relaxations(self, on_cpu, gpu_path, relaxations):
        found, wanted = relax_steps(*relaxations(True)).state, on_cpu[2].state
        assert np.all(found.n_steps == wanted.n_steps)
        assert int(found.n_steps.max()) == N_STEPS
        for name in ("coordinates", "gradient", "enthalpy", "largest_force", "largest_stress"):
            a, b = getattr(found, name), getattr(wanted, name)
            np.testing.assert_allclose(a, b, rtol=1e-7, atol=1e-7, err_msg=name)
        np.testing.assert_allclose(found.at.magmoms, wanted.at.magmoms, rtol=1e-7, atol=1e-7)
