"""Rows dE/dtheta, the active set, its grades, growth and file."""

from dataclasses import replace

import jax
import numpy as np
import pytest
from ase import Atoms

import mmtp_jax as mmtp
from mmtp_jax.active import active_set as module
from mmtp_jax.active import storage
from mmtp_jax.active.active_set import ActiveSet
from mmtp_jax.active.given import fingerprint
from mmtp_jax.active.grade import (
    configuration_grades,
    largest_per_configuration,
    neighborhood_grades,
)
from mmtp_jax.active.jacobian_rows import MEMORY, energy_rows, row_blocks, site_rows
from mmtp_jax.active.scaling import column_scale
from mmtp_jax.fitting.confine import with_confinement

MODES = ("configuration", "neighborhood")
N_ATOMS = 3


@pytest.fixture(scope="module")
def potential(random_potential):
    return random_potential(3, level=6, n_species=1, radial_size=3)


@pytest.fixture(scope="module")
def structures(random_structure):
    """Twenty-six cells; the first ten are for training."""
    return [random_structure(100 + k, N_ATOMS, n_species=1) for k in range(26)]


@pytest.fixture(scope="module")
def active_sets(potential, structures):
    return {
        mode: ActiveSet.from_configurations(potential, structures[:10], mode=mode) for mode in MODES
    }


BLOCK = 10


def small_memory(potential, mode) -> int:
    """What ten configurations need."""
    rows = BLOCK * (N_ATOMS if mode == "neighborhood" else 1)
    return rows * 4 * 8 * potential.n_parameters


# --- rows ---------------------------------------------------------------------------


@pytest.mark.parametrize("form", ["parity", "symmetrised", "bare"])
def test_rows_are_derivatives_of_the_energy(
    form, random_potential, random_structure, relative_error, atoms_of
):
    potential = random_potential(1, level=6, magnetic_size=3, form=form)
    structures = [random_structure(k, n) for k, n in enumerate((3, 1, 4))]
    if potential.even:
        # Vectors among collinear moments.
        canted = np.random.default_rng(1).uniform(-1.4, 1.4, (3, 3))
        structures[0] = replace(structures[0], magmoms=canted)
    rows = energy_rows(potential, structures)
    theta, step = potential.flatten(), 1e-5
    rng = np.random.default_rng(1)
    chosen = rng.choice(theta.size, 40, replace=False)
    expected, atoms_list = np.empty((len(structures), len(chosen))), list(map(atoms_of, structures))
    for column, p in enumerate(chosen):
        change = step * np.eye(1, theta.size, p)[0]
        high, low = (
            [r.energy for r in mmtp.evaluate(potential.unflatten(t), atoms_list)]
            for t in (theta + change, theta - change)
        )
        expected[:, column] = (np.array(high) - low) / (2 * step)
    assert relative_error(rows[:, chosen], expected) < 1e-8
    by_atom = site_rows(potential, structures)
    ends = np.cumsum([3, 1])
    summed = np.stack([part.sum(axis=0) for part in np.split(by_atom, ends)])
    assert relative_error(summed, rows) < 1e-12


def test_rows_are_those_of_motep(
    tmp_path, random_potential, random_structure, relative_error, atoms_of
):
    engine = pytest.importorskip("motep.potentials.mmtp.cext.engine", exc_type=ImportError)
    files = pytest.importorskip("motep.io.mlip.mtp")
    potential = random_potential(
        4, level=6, n_species=2, magnetic_size=3, form="bare", intervals="common"
    )
    mmtp.save(tmp_path / "pot.mtp", potential)
    data = files.read_mmtp(tmp_path / "pot.mtp")
    data.species = [26, 13]
    structures = [random_structure(k, n) for k, n in enumerate((4, 6))]
    rows = energy_rows(potential, structures)
    for structure, row in zip(structures, rows, strict=True):
        atoms = atoms_of(structure)
        motep = engine.CExtMagMTPEngine(data, mode="train")
        motep.calculate(atoms)
        expected = motep.jac_energy(atoms)
        sizes = np.cumsum(list(potential.parameter_sizes.values()))
        species, moment, radial = np.split(row, sizes[:-1])
        assert relative_error(species, np.ravel(expected.species_coeffs)) < 1e-10
        assert relative_error(moment, np.ravel(expected.moment_coeffs)) < 1e-10
        assert relative_error(radial, np.ravel(expected.radial_coeffs)) < 1e-10


@pytest.mark.parametrize("mode", MODES)
def test_blocks_join_to_all_rows_and_stay_small(mode, potential, structures, relative_error):
    whole = energy_rows if mode == "configuration" else site_rows
    blocks = list(row_blocks(potential, structures, mode, small_memory(potential, mode)))
    assert len(blocks) == 3
    most = BLOCK * (N_ATOMS if mode == "neighborhood" else 1)
    assert all(len(rows.values) <= most for rows in blocks)
    joined = np.concatenate([rows.values for rows in blocks])
    assert relative_error(joined, whole(potential, structures)) < 1e-12
    owner = np.concatenate([rows.configuration for rows in blocks])
    atom = np.concatenate([rows.atom for rows in blocks])
    if mode == "configuration":
        np.testing.assert_array_equal(owner, np.arange(len(structures)))
        assert set(atom) == {-1}
    else:
        expected = [(k, i) for k, s in enumerate(structures) for i in range(len(s))]
        assert list(zip(owner, atom, strict=True)) == expected


@pytest.mark.parametrize("mode", MODES)
def test_grades_of_vectors_are_those_of_collinear_moments_along_an_axis(
    mode, potential, structures, active_sets
):
    axis = np.array([2.0, -1.0, 2.0]) / 3.0
    some = structures[8:14]
    turned = [replace(s, magmoms=s.magmoms[:, None] * axis) for s in some]
    expected = active_sets[mode].grade(some)
    assert expected.max() > 1.1
    np.testing.assert_allclose(active_sets[mode].grade(turned), expected, rtol=1e-6)
    mixed = [some[0], turned[1], some[2], *turned[3:]]
    np.testing.assert_allclose(active_sets[mode].grade(mixed), expected, rtol=1e-6)
    rng = np.random.default_rng(2)
    canted = [replace(s, magmoms=rng.uniform(-1.4, 1.4, (N_ATOMS, 3))) for s in structures[:20]]
    both = ActiveSet.from_configurations(potential, [*structures[:10], *canted[:10]], mode=mode)
    assert np.any(both.active_configurations >= 10)
    assert both.log_volume > active_sets[mode].log_volume
    chosen = mmtp.select(both, [*canted[10:], canted[10]])
    assert len(chosen) > 0
    assert len(both.update([canted[k + 10] for k in chosen])[1].indices) == len(chosen)


def test_rows_that_are_not_finite_name_the_configuration(potential, structures):
    moments = np.full(len(structures[4]), 1e200)
    broken = replace(structures[4], magmoms=moments, name="md.cfg, configuration 5")
    with pytest.raises(ValueError, match=r"^md.cfg, configuration 5: the derivatives"):
        energy_rows(potential, [*structures[:4], broken])


# --- the set ------------------------------------------------------------------------


@pytest.mark.parametrize("mode", MODES)
def test_active_rows_have_grade_one_and_the_others_no_more(
    mode, potential, structures, active_sets
):
    active = active_sets[mode]
    rows = (energy_rows if mode == "configuration" else site_rows)(potential, structures[:10])
    own = active.configurations >= 0
    grades = active.grades_of(active.submatrix[own] * active.scale)
    np.testing.assert_allclose(grades, 1.0, rtol=0, atol=1e-9)
    assert active.grades_of(rows).max() <= 1.0 + active.tolerance
    assert active.n_identity == np.sum(~own) > 0
    found = active.grade(structures[:10])[active.active_configurations]
    assert np.all((found > 1.0 - 1e-9) & (found <= 1.0 + active.tolerance))
    if mode == "configuration":
        np.testing.assert_allclose(found, 1.0, rtol=0, atol=1e-9)


@pytest.mark.parametrize("mode", MODES)
def test_sources_are_where_the_rows_come_from(mode, potential, structures, active_sets):
    active = active_sets[mode]
    starts = np.concatenate([[0], np.cumsum([len(s) for s in structures])])
    rows = (energy_rows if mode == "configuration" else site_rows)(potential, structures)
    for row, k, atom in zip(active.submatrix, active.configurations, active.atoms, strict=True):
        if k < 0:
            assert atom == -1
            assert np.count_nonzero(row) == 1
            assert row.max() == active.missing_scale
        else:
            assert (atom >= 0) == (mode == "neighborhood")
            source = k if mode == "configuration" else starts[k] + atom
            np.testing.assert_allclose(row * active.scale, rows[source], rtol=1e-9, atol=1e-12)


def test_grade_is_that_of_the_definition(potential, structures, active_sets):
    """Kotykhov 2025, Eqs. 8-9, with the unscaled matrix and rows."""
    active = active_sets["configuration"]
    rows = energy_rows(potential, structures)
    matrix = active.submatrix * active.scale
    expected = np.abs(rows @ np.linalg.inv(matrix)).max(axis=1)
    np.testing.assert_allclose(active.grade(structures), expected, rtol=1e-7)
    assert expected.max() > 10.0


def test_grade_does_not_depend_on_the_units_of_the_parameters(structures, random_potential):
    """Smaller radial functions with larger c are the same potential."""
    potential = random_potential(3, level=6, n_species=1, radial_size=3)
    other = potential.replace(
        scaling=1e-5 * potential.scaling, radial_coeffs=1e5 * potential.radial_coeffs
    )
    grades = [
        ActiveSet.from_configurations(p, structures[:8]).grade(structures)
        for p in (potential, other)
    ]
    np.testing.assert_allclose(*grades, rtol=1e-6)


def test_spanned_rows_have_the_same_grade_whatever_the_missing_scale(
    potential, structures, random_structure
):
    """The limit of the identity's rows: they take no part in what the others reach.

    Moments of two neighbourhoods alone span few directions; sums of rows are exactly spanned.
    """
    train = structures[:6]
    rows = energy_rows(potential, train)
    inside = np.random.default_rng(0).normal(size=(5, 6)) @ rows
    grades, on_identity = [], []
    for missing_scale in (1e-2, 1e-4, 1e-6):
        active = ActiveSet.from_configurations(potential, train, missing_scale=missing_scale)
        coefficients = np.linalg.solve(active.submatrix.T, (inside / active.scale).T).T
        on_identity.append(np.abs(coefficients[:, active.configurations < 0]).max())
        grades.append(active.grades_of(inside))
    # Without the identity: coefficients over the training rows alone.
    alone = np.linalg.lstsq(rows.T, inside.T, rcond=None)[0]
    expected = np.abs(alone).max(axis=0)
    assert max(on_identity) < 1e-6
    for found in grades:
        np.testing.assert_allclose(found, expected, rtol=1e-6)


def test_outside_of_the_span_the_grade_is_inverse_to_the_missing_scale(potential, structures):
    small, large = (
        ActiveSet.from_configurations(potential, structures[:3], missing_scale=s)
        for s in (1e-6, 1e-5)
    )
    ratio = small.grade(structures[10:]) / large.grade(structures[10:])
    np.testing.assert_allclose(ratio, 10.0, rtol=1e-3)


def test_a_pair_of_species_that_was_never_seen_has_a_large_grade(
    random_potential, random_structure
):
    potential = random_potential(5, level=4, n_species=2)
    iron = [replace(random_structure(k, 2), types=np.zeros(2, np.int32)) for k in range(5)]
    active = ActiveSet.from_configurations(potential, iron)
    mixed = replace(iron[0], types=np.array([0, 1], np.int32))
    assert active.grade(iron).max() < 1.01
    assert active.grade(mixed)[0] > 10.0


def test_scale_is_the_root_mean_square_and_never_zero():
    rows = np.array([[3.0, 0.0, 1e-14], [4.0, 0.0, 0.0], [0.0, 0.0, 0.0], [0.0, 2.0, 0.0]])
    expected = [2.5, 1.0, 1.0]
    np.testing.assert_allclose(column_scale([rows[:1], rows[1:]]), expected)
    np.testing.assert_array_equal(column_scale([np.zeros((2, 3))]), np.ones(3))


# --- grades -------------------------------------------------------------------------


def test_grades_of_atoms_and_of_their_configuration(structures, active_sets):
    active = active_sets["neighborhood"]
    by_atom = active.atom_grades(structures)
    assert [len(g) for g in by_atom] == [len(s) for s in structures]
    np.testing.assert_allclose(active.grade(structures), [g.max() for g in by_atom], rtol=1e-9)
    assert active.atom_grades([]) == []
    with pytest.raises(ValueError, match="in the mode neighborhood"):
        active_sets["configuration"].atom_grades(structures)


def test_atoms_and_structures_have_the_same_grade(potential, structures, active_sets, atoms_of):
    active = active_sets["configuration"]
    atoms_list = [atoms_of(s, potential.species) for s in structures]
    np.testing.assert_allclose(active.grade(atoms_list), active.grade(structures), rtol=1e-9)
    np.testing.assert_allclose(active.grade(atoms_list[3]), active.grade(structures[3]), rtol=1e-9)


def test_a_supercell_extrapolates_by_configuration_and_not_by_neighbourhood(
    potential, structures, active_sets, atoms_of
):
    """Its energy, and with it the row, is twice as large; its neighbourhoods are the same."""
    small = [atoms_of(structures[k], potential.species) for k in (0, 1)]
    large = [atoms.repeat((2, 1, 1)) for atoms in small]
    for mode, factor in (("configuration", 2.0), ("neighborhood", 1.0)):
        active = active_sets[mode]
        np.testing.assert_allclose(active.grade(large), factor * active.grade(small), rtol=1e-8)


def test_grades_inside_of_a_compiled_loop(potential, structures, active_sets, graph_of):
    graph = graph_of(structures[10:13], n_conf=4)
    for mode, function in (
        ("configuration", configuration_grades),
        ("neighborhood", neighborhood_grades),
    ):
        active = active_sets[mode]

        @jax.jit
        def along(factors, potential, graph, function=function):
            def step(carry, share):
                moved = graph._replace(magmoms=share * graph.magmoms)
                return carry, function(factors, potential, moved, 4)

            return jax.lax.scan(step, 0, np.array([1.0, 0.5]))[1]

        found = np.asarray(along(active.factors, potential, graph))
        for k, factor in enumerate((1.0, 0.5)):
            moved = [replace(s, magmoms=factor * s.magmoms) for s in structures[10:13]]
            expected = active.grade(moved)
            if mode == "neighborhood":
                size = sum(map(len, moved))
                np.testing.assert_allclose(
                    found[k][:size], np.concatenate(active.atom_grades(moved)), rtol=1e-8
                )
                assert np.all(found[k][size:] == 0.0)
                grades = largest_per_configuration(graph, found[k])
            else:
                grades = found[k]
            np.testing.assert_allclose(grades[:3], expected, rtol=1e-8)
            assert np.all(grades[3:] == 0.0)


def test_similar_numbers_of_configurations_share_one_program(structures, active_sets):
    active = active_sets["configuration"]
    module._grades.clear_cache()
    rows = np.ones((300, len(active.scale)))
    for n in (260, 270, 288):
        active.grades_of(rows[:n])
    assert module._grades._cache_size() == 1


# --- growth -------------------------------------------------------------------------


@pytest.mark.parametrize("mode", MODES)
def test_update_raises_the_volume_and_leaves_nothing_to_extrapolate(mode, structures, active_sets):
    active = active_sets[mode]
    before = active.grade(structures[10:])
    grown, taken = active.update(structures[10:])
    assert len(taken.indices) > 0
    np.testing.assert_allclose(taken.candidate_grades, before, rtol=1e-9)
    assert np.all(taken.grades > 1.0 + active.tolerance)
    # One alone is taken with the grade that it has.
    _, alone = active.update(structures[10 + before.argmax()])
    assert alone.indices.tolist() == [0]
    assert alone.grades[0] == pytest.approx(before.max(), rel=1e-6)
    assert grown.log_volume > active.log_volume
    assert grown.grade(structures[10:]).max() <= 1.0 + grown.tolerance + 1e-9
    assert grown.n_seen == len(structures)
    inside = grown.active_configurations
    np.testing.assert_array_equal(np.sort(taken.indices), inside[inside >= 10] - 10)
    again, more = grown.update(structures[10:])
    assert len(more.indices) == 0
    assert again.log_volume == pytest.approx(grown.log_volume, abs=1e-9)
    _, none = active.update([])
    assert len(none.indices) == len(none.candidate_grades) == 0


@pytest.mark.parametrize("mode", MODES)
def test_block_by_block_is_as_good_as_all_at_once(mode, potential, structures, active_sets):
    small = small_memory(potential, mode)
    whole = ActiveSet.from_configurations(potential, structures, mode=mode)
    parts = ActiveSet.from_configurations(potential, structures, mode=mode, memory=small)
    for active in (whole, parts):
        assert active.grade(structures).max() <= 1.0 + active.tolerance + 1e-9
    np.testing.assert_allclose(whole.scale, parts.scale, rtol=1e-12)
    # Two local maxima of one problem.
    assert abs(whole.log_volume - parts.log_volume) < 0.05 * potential.n_parameters
    once, _ = active_sets[mode].update(structures[10:])
    by_parts, _ = active_sets[mode].update(structures[10:], memory=small)
    assert by_parts.grade(structures[10:]).max() <= 1.0 + by_parts.tolerance + 1e-9
    assert abs(once.log_volume - by_parts.log_volume) < 0.05 * potential.n_parameters
    assert small < MEMORY


# --- files --------------------------------------------------------------------------


@pytest.mark.parametrize("mode", MODES)
def test_file_brings_back_the_same_set(mode, tmp_path, potential, structures, active_sets):
    active = active_sets[mode]
    active.save(tmp_path / "active.npz")
    mmtp.save(tmp_path / "pot.mtp", potential)
    again = ActiveSet.load(tmp_path / "active.npz", mmtp.load(tmp_path / "pot.mtp"))
    for name in ("submatrix", "scale", "configurations", "atoms"):
        np.testing.assert_array_equal(getattr(again, name), getattr(active, name))
    for name in ("mode", "n_seen", "missing_scale", "tolerance"):
        assert getattr(again, name) == getattr(active, name)
    np.testing.assert_array_equal(again.grade(structures), active.grade(structures))
    with np.load(tmp_path / "active.npz", allow_pickle=False) as file:
        assert set(file.files) == {"header", "submatrix", "scale", "configurations", "atoms"}


@pytest.mark.parametrize(
    "change",
    [
        lambda p: p.unflatten(np.nextafter(p.flatten(), np.inf)),
        lambda p: p.replace(form="bare"),
        lambda p: p.replace(species=("Co",)),
        lambda p: p.replace(cutoff=p.cutoff + 1e-9),
        lambda p: p.replace(max_magmom=p.max_magmom + 1.0),
    ],
)
def test_set_of_another_potential_is_refused(change, tmp_path, potential, active_sets):
    active_sets["configuration"].save(tmp_path / "active.npz")
    with pytest.raises(ValueError, match=r"active.npz is the active set of another potential"):
        ActiveSet.load(tmp_path / "active.npz", change(potential))
    assert fingerprint(potential.replace(tag="other")) == fingerprint(potential)


def test_files_that_are_no_active_sets_are_refused(tmp_path, potential):
    (tmp_path / "text.npz").write_text("no archive")
    np.savez(tmp_path / "other.npz", a=1.0)
    for name in ("text.npz", "other.npz"):
        with pytest.raises(ValueError, match=f"{name} is not a readable active set"):
            ActiveSet.load(tmp_path / name, potential)
    with pytest.raises(FileNotFoundError):
        ActiveSet.load(tmp_path / "none.npz", potential)


@pytest.mark.parametrize(
    ("part", "change"),
    [
        ("submatrix", lambda a: np.zeros_like(a)),
        ("submatrix", lambda a: np.where(np.eye(len(a)) > 0, np.nan, a)),
        ("submatrix", lambda a: a[[0, 0, *range(2, len(a))]]),
        ("submatrix", lambda a: a[:-1]),
        ("submatrix", lambda a: a.astype(int)),
        ("scale", lambda a: 0.0 * a),
        ("scale", lambda a: -a),
        ("configurations", lambda a: a + 10**6),
        ("atoms", lambda a: a.astype(float)),
        ("mode", lambda _: "atoms"),
        ("n_seen", lambda _: "many"),
        ("n_seen", lambda _: True),
        ("tolerance", lambda _: 10**400),
        ("missing_scale", lambda _: None),
        ("other", lambda _: 1),
    ],
)
def test_sets_that_grade_nothing_are_refused(part, change, tmp_path, potential, active_sets):
    path = tmp_path / "active.npz"
    active_sets["configuration"].save(path)
    header, arrays = storage.read(path)
    where = arrays if part in arrays else header
    where[part] = change(where.get(part))
    storage.write(path, header, arrays)
    with pytest.raises(ValueError, match=r"active.npz is not a readable active set .*; make it"):
        ActiveSet.load(path, potential)


def test_set_of_another_size_is_refused(tmp_path, potential, active_sets):
    path = tmp_path / "active.npz"
    active_sets["configuration"].save(path)
    header, arrays = storage.read(path)
    small = {name: a[:3, :3] if a.ndim == 2 else a[:3] for name, a in arrays.items()}
    storage.write(path, header, small | {"submatrix": np.eye(3)})
    with pytest.raises(ValueError, match="has 3 rows, and the potential"):
        ActiveSet.load(path, potential)


# --- bad input ----------------------------------------------------------------------


def test_bad_input_is_refused(potential, structures, active_sets):
    with pytest.raises(ValueError, match="at least one configuration"):
        ActiveSet.from_configurations(potential, [])
    with pytest.raises(ValueError, match="mode must be one of"):
        ActiveSet.from_configurations(potential, structures[:1], mode="atoms")
    with pytest.raises(ValueError, match="missing_scale must be positive"):
        ActiveSet.from_configurations(potential, structures[:1], missing_scale=0.0)
    copper = Atoms("Cu", cell=3 * np.eye(3), pbc=True, magmoms=[1.0])
    with pytest.raises(ValueError, match="has Cu, but the potential is for Fe"):
        active_sets["configuration"].grade([copper])


def test_a_confined_potential_has_the_rows_of_its_polynomials(random_potential, random_structure):
    """Outside of the intervals too, so that a grade says how far."""
    narrow = random_potential(7, n_species=1).replace(min_dist=np.float64(2.4))
    structures = [random_structure(k, 3, n_species=1) for k in range(12)]
    plain = ActiveSet.from_configurations(narrow, structures)
    confined = ActiveSet.from_configurations(with_confinement(narrow), structures)
    np.testing.assert_array_equal(confined.grade(structures), plain.grade(structures))
    confined.check(narrow, "the polynomials")
