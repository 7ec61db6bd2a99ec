"""What is written is what is read: any configuration, through any format, or the log names it.

The property, for each format and for configurations with any labels, any ``info`` and any arrays:
`read` of what `write` wrote gives atoms, labels, ``info``, arrays and constraints back to the bit,
and nothing besides; a part that does not come back is named in the one line that `write` logs. Of
``.cfg`` and extended XYZ no label is ever left out (but the stress of a cell without volume from
``.cfg``), nor text and numbers under ordinary names.

The examples are the same in every run.
"""

import logging
import warnings
from contextlib import contextmanager

import hypothesis.extra.numpy as hnp
import numpy as np
import pytest
from ase import Atoms
from ase.calculators.calculator import all_properties
from ase.calculators.singlepoint import SinglePointCalculator
from ase.constraints import FixAtoms, FixCartesian, FixedPlane
from hypothesis import HealthCheck, given, reject, settings
from hypothesis import strategies as st

from mmtp_jax.io.reading import read
from mmtp_jax.io.schema import stamp_as_read
from mmtp_jax.io.writing import write

OURS = ["a.cfg", "a.CFG.gz", "a.extxyz", "a.XYZ.bz2"]
OF_ASE = ["a.traj", "a.json"]
OTHERS = ("REF_magmom", "spin", "virial", "species", "uid")
LINE = ("lattice", "properties", "pbc")
LABELS = ("energy", "forces", "stress", "magmoms", "magnetic_forces")

stable = settings(
    max_examples=50, deadline=None, derandomize=True, database=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)  # fmt: skip

# What may stand in info and in arrays: anything, under any name.

SPELLED = st.sampled_from(
    ["", " ", "T", "False", "5", "-1e3", "1_5", "nan", "1 2", "T F", "_JSON", '_JSON {"a": 1}',
     "_JSON [", "two\nlines", "two\n\nlines", " blanks ", "x\ry", "a\\", "\\n", "=", "a=b", '"',
     "'", "Ünï", "END_CFG"]
)  # fmt: skip
ODD = st.text("\"'\\{}[]()=,:;# \t\n\r\v\x00\x85\u2028é_TFaJ1.5", max_size=8)
TEXT = SPELLED | ODD | st.text(max_size=8)
TAKEN = st.sampled_from(
    ["energy", "free_energy", "forces", "stress", "magmoms", "magmom", "dipole", "Lattice",
     "Properties", "pbc", "pos", "pos0", "species", "Z", "charge", "charges", "id", "symbols",
     "move_mask", "nbh_grades", "momenta", "masses", "tags", "initial_charges", "uid", "comment",
     "weight", "spin", "magmoms",
     "REF_magmom", "virial", "lattice", "Energy", "config type", "a0", "a"]
)  # fmt: skip
NAMES = TAKEN | TEXT
INTEGERS, FLOATS = st.integers(-(2**70), 2**70), st.floats()
SHAPES = hnp.array_shapes(min_dims=0, max_dims=3, min_side=0, max_side=3)
KINDS = st.sampled_from([np.float64, np.float32, np.int64, np.uint64, np.dtype(bool)])
LEAVES = st.one_of(
    st.none(), st.booleans(), INTEGERS, FLOATS, TEXT, FLOATS.map(np.float64),
    st.integers(-(2**63), 2**63 - 1).map(np.int64), hnp.arrays(KINDS, SHAPES),
    st.sampled_from([1j, b"bytes", {1, 2}, object, np.datetime64("2020-01-01"), {1: 2}]),
)  # fmt: skip
VALUES = st.recursive(
    LEAVES,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXT, inner, max_size=3),
    max_leaves=6,
)

# Atoms and labels: any numbers, cells of both hands and none.

FINITE, MODERATE = st.floats(allow_nan=False, allow_infinity=False), st.floats(-100, 100)
CELLS = st.sampled_from(
    [
        np.eye(3) * 3.1,
        np.eye(3)[[1, 0, 2]] * 2.87,
        np.array([[3, 0.1, 0], [0, 4, 1 / 3], [1, 0, 5]]),
    ]
)


@st.composite
def configurations(draw):
    n = draw(st.integers(1, 4))
    pbc = draw(st.sampled_from([(True, True, True), (False, False, False), (True, False, True)]))
    atoms = Atoms(
        draw(st.lists(st.sampled_from(["Fe", "Al", "O"]), min_size=n, max_size=n)),
        positions=draw(hnp.arrays(float, (n, 3), elements=FINITE)),
        cell=np.zeros((3, 3)) if not any(pbc) and draw(st.booleans()) else draw(CELLS),
        pbc=pbc,
    )
    atoms.info = draw(st.dictionaries(NAMES | st.integers(), VALUES, max_size=4))
    for name in draw(st.lists(NAMES, max_size=3, unique=True)):
        # ASE itself fails at charges that are no numbers, wherever it compares two atoms.
        charges = name == "initial_charges"
        atoms.arrays[name] = draw(hnp.arrays(float, n) if charges else per_atom(n))
    if draw(st.booleans()):
        moments = draw(hnp.arrays(float, n, elements=MODERATE))
        along_z = draw(st.booleans())
        atoms.arrays["initial_magmoms"] = moments[:, None] * [0, 0, 1] if along_z else moments
    fix = {FixAtoms: (), FixCartesian: ((True, False, True),), FixedPlane: ((0, 0, 1),)}
    kind = draw(st.sampled_from([None, *fix]))
    if kind is not None:
        atoms.set_constraint(kind([draw(st.integers(0, n - 1))], *fix[kind]))
    shapes = {
        "energy": (), "forces": (n, 3), "stress": 6, "magmoms": n, "magnetic_forces": n,
        "energies": n, "charges": n, "dipole": 3,
    }  # fmt: skip
    results = {}
    for name in draw(st.lists(st.sampled_from(list(shapes)), unique=True)):
        elements = MODERATE if name == "stress" else FINITE
        results[name] = draw(hnp.arrays(float, shapes[name], elements=elements))
    if "energy" in results:
        results["energy"] = float(results["energy"])
    magnetic_forces = results.pop("magnetic_forces", None)
    if results:
        atoms.calc = SinglePointCalculator(atoms, **results)
    if magnetic_forces is not None:
        atoms.arrays["magnetic_forces"] = magnetic_forces
        stamp_as_read(atoms)
    return atoms


@st.composite
def per_atom(draw, n):
    shape = (n, *draw(st.sampled_from([(), (), (1,), (2,), (3,), (3, 3)])))
    words = st.text("ab é\n:=é", max_size=3)
    kind = draw(st.sampled_from([np.float64, np.int32, np.int64, bool, object, complex]))
    return draw(hnp.arrays(kind, shape, elements=words if kind is object else None))


# Reading and comparing.


@contextmanager
def logged():
    """The texts that the project logs, warnings of others silenced."""
    texts, handler, logger = [], logging.Handler(), logging.getLogger("mmtp_jax")
    handler.emit = lambda record: texts.append(record.getMessage())
    logger.addHandler(handler)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield texts
    finally:
        logger.removeHandler(handler)


def written_and_read(folder, name, atoms_list):
    """What is read of what was written, and the line that names what is left out."""
    with logged() as texts:
        write(folder / name, atoms_list)
        assert len(texts) <= 1, texts
        said = "".join(texts)
        return read(folder / name), said


def plain(value):
    """Python's scalars and lists for NumPy's; a list of numbers is one kind of numbers."""
    if isinstance(value, dict):
        return {key: plain(one) for key, one in value.items()}
    if isinstance(value, (np.ndarray, np.generic)):
        return plain(value.tolist())
    if isinstance(value, (list, tuple)):
        items = [plain(one) for one in value]
        mixed = {type(one) for one in items} == {int, float}
        return [float(one) for one in items] if mixed else items
    return value


def equal(given, found):
    """The same to the bit and of the same type; repr tells 1, 1.0 and True, 0.0 and -0.0 apart."""
    return repr(plain(given)) == repr(plain(found))


def results_of(atoms):
    found = {} if atoms.calc is None else dict(atoms.calc.results)
    if "magnetic_forces" in atoms.arrays:
        found["magnetic_forces"] = atoms.arrays["magnetic_forces"]
    return found


def fixed(atoms):
    """Which coordinates are fixed (n, 3); constraints that say it otherwise as they stand."""
    mask, others = np.zeros((len(atoms), 3), bool), []
    for one in atoms.constraints:
        if isinstance(one, (FixAtoms, FixCartesian)):
            mask[one.index] |= True if isinstance(one, FixAtoms) else one.mask
        else:
            others.append(repr(one))
    return mask.tolist(), others


def check(before, after, said, name):
    """`after` is `before`, or `said` names what is not."""
    ours, cfg = name in OURS, ".cfg" in name.lower()
    assert list(after.symbols) == list(before.symbols)
    assert equal(before.positions, after.positions)
    assert equal(list(before.pbc), list(after.pbc))
    kept = before.cell.array
    if "cell vector" in said:
        assert cfg
        kept = np.where(before.pbc[:, None], kept, 0.0)
    assert equal(kept, after.cell.array)

    given, found = results_of(before), results_of(after)
    initial = before.arrays.get("initial_magmoms")
    if initial is not None and initial.ndim == 2:
        initial = initial[:, 2]
    if cfg and initial is not None:
        # One column holds the moments of a .cfg: the achieved ones, where there are any.
        given.setdefault("magmoms", initial)
    for label, value in given.items():
        if label not in found:
            assert label.replace("_", " ") in said or f"[{label!r}]" in said
            assert not ours or label not in LABELS or (label == "stress" and not before.pbc.all())
        elif label == "stress" and cfg:
            np.testing.assert_allclose(found[label], value, rtol=1e-12, atol=1e-300)
        else:
            assert equal(value, found[label]), label
    assert found.keys() <= given.keys()
    if "initial moments" not in said:
        # Where there are achieved moments only, a run begins from them.
        expected = given.get("magmoms") if initial is None else initial
        assert equal(expected, after.arrays.get("initial_magmoms"))

    for key, value in before.info.items():
        if f"info[{key!r}]" in said:
            ordinary = str(key).isidentifier() and str(key).isascii()
            taken = key in {*all_properties, *OTHERS} or str(key).lower() in LINE
            assert not ours or not ordinary or taken or not isinstance(value, (str, float, int))
        else:
            assert equal(value, after.info[key]), key
    # ASE's JSON makes numbers of names that are digits.
    assert not ours or after.info.keys() <= before.info.keys()

    basic = {"numbers", "positions", "initial_magmoms", "magnetic_forces"}
    for key in before.arrays.keys() - basic:
        if f"arrays[{key!r}]" in said:
            continue
        values = before.arrays[key]
        if cfg and key == "id":
            # Those of every .cfg, which are read into no array.
            assert values.tolist() == [*range(1, len(values) + 1)]
        elif cfg or (not ours and values.dtype.kind in "biuf"):
            # Columns of .cfg files and ASE's own arrays are floats.
            assert equal(values.astype(float), after.arrays[key].astype(float)), key
        else:
            assert equal(values, after.arrays[key]), key
    assert after.arrays.keys() - basic <= before.arrays.keys()
    if "constraint" not in said:
        assert fixed(before) == fixed(after)


# The properties.


@pytest.mark.parametrize("name", OURS + OF_ASE)
@stable
@given(atoms_list=st.lists(configurations(), min_size=1, max_size=2))
def test_what_is_written_is_read_or_named(tmp_path, name, atoms_list):
    try:
        again, said = written_and_read(tmp_path, name, atoms_list)
    except ValueError as error:
        # ASE writes momenta that are words, and cannot read them.
        if name in OF_ASE and "nothing is written" in str(error):
            reject()
        raise
    assert len(again) == len(atoms_list)
    for before, after in zip(atoms_list, again, strict=True):
        check(before, after, said, name)


@pytest.mark.parametrize("name", ["a.cfg", "a.extxyz", "a.traj"])
def test_what_is_not_finite_is_refused(name, tmp_path) -> None:
    """Read again it would be a label, or the moments that a calculation starts from."""
    good = Atoms("Fe2", [[0, 0, 0], [1.4, 1.4, 1.4]], cell=[2.8] * 3, pbc=True, magmoms=[2.0, 2.0])

    def broken(place: str) -> Atoms:
        atoms = good.copy()
        if place in atoms.arrays:
            atoms.arrays[place].flat[-1] = np.nan
        elif place == "cell":
            atoms.cell[0, 1] = np.inf
        else:
            values = {"energy": -1.0, "forces": np.zeros((2, 3)), "magmoms": np.full(2, 2.0)}
            values[place] = np.nan * values[place]
            atoms.calc = SinglePointCalculator(atoms, **values)
        return atoms

    path = tmp_path / name
    write(path, good)
    before = path.read_bytes()
    for place in ("positions", "initial_magmoms", "cell", "energy", "forces", "magmoms"):
        with pytest.raises(ValueError, match=r"configuration 2: .*; remove it or the con"):
            write(path, [good, broken(place)])
    assert path.read_bytes() == before
