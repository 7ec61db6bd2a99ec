"""The .mtp reader and writer: every dialect, losslessness, other programs, messages."""

import dataclasses
import json
import logging
import pickle
import re
from pathlib import Path

import jax
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mmtp_jax.fitting.confine import with_confinement
from mmtp_jax.io.mtp import LostSymmetryWarning, load, save
from mmtp_jax.potential.moments import MomentTables, moment_tables
from mmtp_jax.potential.potential import Potential

REFERENCE = Path(__file__).parents[2].parent / "shared" / "reference" / "fe54"

SMALL = """MTP
version = 1.1.0
potential_name = MTP1m
scaling = 2.0
species_count = 2
potential_tag = made by hand = yes
radial_basis_type = RBChebyshev
	min_dist = 1.5
	max_dist = 5.0e+00
	radial_basis_size = 1
magnetic_basis_type = BChebyshev
	min_val = -3
	max_val = 2
	basis_size = 2
	radial_funcs_count = 1
	radial_coeffs
		0-0
			{1, 2, 3, 4}
		0-1
			{5, 6, 7, 8}
		1-0
			{9, 10, 11, 12}
		1-1
			{13, 14, 15, 1.6e+01}
alpha_moments_count = 2
alpha_index_basic_count = 1
alpha_index_basic = {{0, 0, 0, 0}}
alpha_index_times_count = 1
alpha_index_times = {{0, 0, 1, 1}}
alpha_scalar_moments = 2
alpha_moment_mapping = {0, 1}
species_coeffs = {-1.5, -2.5}
moment_coeffs = {0.25, 0.5}
"""
BASIS = SMALL[SMALL.index("\tmin_dist") : SMALL.index("\tradial_funcs_count")]


def parse(tmp_path, text, species=("Fe", "Al"), **options):
    path = tmp_path / "pot.mtp"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return load(path, species, **options)


def random_potential(seed, species=("Fe", "Al"), level=6, low=None, high=None, **options):
    """A potential with random numbers of all sizes in every leaf."""
    rng = np.random.default_rng(seed)
    options = {"form": "symmetrised", "magnetic_size": 2, **options}
    pot = Potential.new(level=level, species=species, radial_size=3, seed=seed, **options)
    pot = jax.tree.map(
        lambda leaf: rng.normal(size=np.shape(leaf)) * 10.0 ** rng.integers(-12, 6), pot
    )
    n = len(species)
    return pot.replace(
        min_dist=np.float64(1.0 + rng.random()),
        cutoff=np.float64(4.0 + rng.random()),
        min_magmom=np.broadcast_to(-rng.random() - 1 if low is None else low, n).copy(),
        max_magmom=np.broadcast_to(rng.random() + 1 if high is None else high, n).copy(),
    )


def same(a, b):
    for field in dataclasses.fields(Potential):
        ours, theirs = getattr(a, field.name), getattr(b, field.name)
        if isinstance(ours, (str, bool, tuple, dict, MomentTables)) or ours is None:
            assert ours == theirs, field.name
        else:
            assert np.shape(ours) == np.shape(theirs), field.name
            assert np.asarray(theirs).dtype == np.float64, field.name
            assert np.array_equal(ours, theirs), field.name
    assert a.level == b.level


class TestReading:
    def test_conventions(self, tmp_path):
        pot = parse(tmp_path, SMALL)
        assert pot.species == ("Fe", "Al")
        assert pot.tag == "made by hand = yes"
        assert pot.form == "bare"
        assert pot.level is None
        assert (pot.scaling, pot.min_dist, pot.cutoff) == (2.0, 1.5, 5.0)
        assert pot.min_magmom.tolist() == [-3, -3]
        assert pot.max_magmom.tolist() == [2, 2]
        assert pot.radial_coeffs.shape == (2, 2, 1, 1, 2, 2)
        # central species 1, neighbour 0; beta (central moment) 0, gamma (neighbour) 1
        assert pot.radial_coeffs[1, 0, 0, 0, 0, 1] == 10
        assert pot.species_coeffs.tolist() == [-1.5, -2.5]
        assert pot.moment_coeffs.tolist() == [0.25, 0.5]
        assert pot.tables.basic.tolist() == [[0, 0, 0, 0]]
        assert pot.tables.products.tolist() == [[0, 0, 1, 1]]
        assert pot.tables.scalars.tolist() == [0, 1]

    @pytest.mark.parametrize(
        "basis",
        [
            "\tmin_mag = -3\n\tmax_mag = 2\n\tmag_basis_size = 2\n"
            "\tmin_dist = 1.5\n\tmax_dist = 5\n\tradial_basis_size = 1\n",
            "\tmin_dist = 1.5\n\tmax_dist = 5\n\tradial_basis_size = 1\n"
            "\tmin_mag = -3\n\tmax_mag = 2\n\tmag_basis_size = 2\n",
            "\tmin = 1.5\n\tmax = 5\n\tsize = 1\nmagnetic_basis_type = BChebyshev\n"
            "\tmin = -3\n\tmax = 2\n\tsize = 2\n",
            "\tmin_val = 1.5\n\tmax_val = 5\n\tbasis_size = 1\nmagnetic_basis_type = BChebyshev\n"
            "\tscaling = 1\n\tmin_val = {-3, -3}\n\tmax_val = {2, 2}\n\tbasis_size = 2\n",
        ],
    )
    def test_every_dialect(self, tmp_path, basis):
        same(parse(tmp_path, SMALL), parse(tmp_path, SMALL.replace(BASIS, basis)))

    def test_scaling(self, tmp_path):
        inside = SMALL.replace("\tmin_dist", "\tscaling = 3\n\tmin_dist")
        assert parse(tmp_path, inside).scaling == 6.0
        assert parse(tmp_path, inside.replace("scaling = 2.0\n", "")).scaling == 3.0
        assert parse(tmp_path, SMALL.replace("scaling = 2.0\n", "")).scaling == 1.0

    def test_interval_per_species(self, tmp_path):
        pot = parse(tmp_path, SMALL.replace("max_val = 2", "max_val = {2.5, 0.3}"))
        assert pot.max_magmom.tolist() == [2.5, 0.3]
        assert pot.min_magmom.tolist() == [-3, -3]

    def test_without_moments(self, tmp_path):
        text = SMALL
        for line in BASIS.splitlines(keepends=True)[3:]:
            text = text.replace(line, "")
        for k in range(4):
            row = ["1, 2, 3, 4", "5, 6, 7, 8", "9, 10, 11, 12", "13, 14, 15, 1.6e+01"][k]
            text = text.replace(row, str(k))
        pot = parse(tmp_path, text)
        assert pot.magnetic_size == 1
        assert pot.radial_coeffs.ravel().tolist() == [0, 1, 2, 3]
        save(tmp_path / "again.mtp", pot)
        same(pot, load(tmp_path / "again.mtp"))

    def test_labels_are_not_counted_on(self, tmp_path):
        text = SMALL
        for label, other in (
            ("0-0", "26-26"),
            ("0-1", "26-13"),
            ("1-0", "13-26"),
            ("1-1", "13-13"),
        ):
            text = text.replace(f"\t{label}", f"\t{other}")
        same(parse(tmp_path, SMALL), parse(tmp_path, text))

    def test_windows_lines_and_blank_lines(self, tmp_path):
        same(parse(tmp_path, SMALL), parse(tmp_path, SMALL.replace("\n", "\r\n")))
        spaced = SMALL[:20] + SMALL[20:].replace("\n", "\n\n")
        same(parse(tmp_path, SMALL), parse(tmp_path, spaced))

    @pytest.mark.parametrize(
        "active_set", [b"\n#MVS_v1.1\nenergy_weight 1\n#\x00\xff\xfe", b"#MVS"]
    )
    def test_active_set_after_the_potential(self, tmp_path, active_set, caplog):
        caplog.set_level(logging.INFO)
        same(parse(tmp_path, SMALL), parse(tmp_path, SMALL.encode() + active_set))
        assert "ignored what follows" in caplog.text

    def test_form(self, tmp_path):
        assert parse(tmp_path, SMALL, form="symmetrised").form == "symmetrised"
        save(tmp_path / "a.mtp", random_potential(0, form="symmetrised"))
        assert load(tmp_path / "a.mtp").form == "symmetrised"
        assert load(tmp_path / "a.mtp", form="bare").form == "bare"

    def test_older_name_of_the_form(self, tmp_path):
        with pytest.warns(DeprecationWarning, match="form='symmetrised'"):
            pot = parse(tmp_path, SMALL, symmetrised=True)
        with pytest.warns(DeprecationWarning, match=r"Potential\.form"):
            assert pot.symmetrised

    def test_species_as_one_symbol(self, tmp_path):
        save(tmp_path / "a.mtp", random_potential(0, species=("Fe",)))
        assert load(tmp_path / "a.mtp", species="Fe").species == ("Fe",)


class TestRoundTrip:
    @pytest.mark.parametrize("dialect", ["grouped", "flat"])
    @pytest.mark.parametrize(
        ("species", "low", "high", "size"),
        [
            (("Fe",), None, None, 2),
            (("Fe",), -0.5, 3.5, 1),
            (("Fe", "Al"), [-3, -0.3], [3, 0.3], 3),
            (("Fe", "Al"), -1.25, [2.5, 0.5], 2),
            (("Cr", "N", "Pd"), None, None, 2),
            (("Cr", "N", "Pd"), [-1, -2, -3], 3.3, 2),
        ],
    )
    def test_every_leaf(self, tmp_path, dialect, species, low, high, size):
        for seed, form in ((0, "symmetrised"), (1, "bare")):
            pot = random_potential(seed, species, low=low, high=high, magnetic_size=size, form=form)
            save(tmp_path / "a.mtp", pot, dialect)
            same(pot, load(tmp_path / "a.mtp"))
            same(pot, load(tmp_path / "a.mtp", species))

    @pytest.mark.parametrize("level", [2, 4, 12])
    def test_level_is_kept_with_its_tables(self, tmp_path, level):
        pot = random_potential(2, level=level)
        save(tmp_path / "a.mtp", pot)
        again = load(tmp_path / "a.mtp")
        assert again.level == level
        assert again.tables == moment_tables(level)

    def test_level_goes_when_the_tables_were_edited(self, tmp_path):
        save(tmp_path / "a.mtp", random_potential(2, level=4))
        text = (tmp_path / "a.mtp").read_text()
        (tmp_path / "a.mtp").write_text(text.replace("{{0, 0, 1, 1}}", "{{0, 0, 2, 1}}"))
        assert load(tmp_path / "a.mtp").level is None

    def test_tables_of_a_file(self, tmp_path):
        pot = parse(tmp_path, SMALL)
        save(tmp_path / "b.mtp", pot)
        same(pot, load(tmp_path / "b.mtp"))

    def test_record(self, tmp_path):
        record = {"data": {"sha256": "ab", "n": 3}, "text": "a = b; c", "loss": 1e-7, "none": None}
        pot = random_potential(3, level=2).replace(record=record)
        save(tmp_path / "a.mtp", pot)
        same(load(tmp_path / "a.mtp"), pot)
        line = next(x for x in (tmp_path / "a.mtp").read_text().split("\n") if "potential_tag" in x)
        assert line.count("=") == 1

    @settings(max_examples=50, deadline=None)
    @given(tag=st.text())
    def test_tag(self, tmp_path_factory, tag):
        path = tmp_path_factory.mktemp("mtp") / "a.mtp"
        pot = random_potential(3, level=2).replace(tag=tag)
        save(path, pot)
        assert load(path).tag == tag
        lines = [line for line in path.read_text().split("\n") if "potential_tag" in line]
        assert len(lines) == 1
        assert lines[0].isascii()
        assert lines[0].count("=") == 1

    @settings(max_examples=50, deadline=None)
    @given(value=st.floats(allow_nan=False, allow_infinity=False))
    def test_every_number(self, tmp_path_factory, value):
        path = tmp_path_factory.mktemp("mtp") / "a.mtp"
        pot = random_potential(3, level=2)
        pot = pot.replace(moment_coeffs=np.full_like(pot.moment_coeffs, value))
        save(path, pot)
        assert load(path).moment_coeffs[0] == value

    def test_numbers_on_a_device_and_in_single_precision(self, tmp_path):
        pot = random_potential(4).astype(np.float32)
        save(tmp_path / "a.mtp", jax.tree.map(jax.numpy.asarray, pot))
        again = load(tmp_path / "a.mtp")
        assert np.array_equal(again.radial_coeffs, pot.radial_coeffs)
        assert np.array_equal(again.scaling, pot.scaling)

    def test_a_failed_save_leaves_the_file(self, tmp_path):
        pot = random_potential(5)
        save(tmp_path / "a.mtp", pot)
        with pytest.raises(ValueError, match=r"moment_coeffs.*not finite"):
            save(tmp_path / "a.mtp", pot.replace(moment_coeffs=pot.moment_coeffs * np.nan))
        same(pot, load(tmp_path / "a.mtp"))
        assert [file.name for file in tmp_path.iterdir()] == ["a.mtp"]

    def test_swapped_arguments(self, tmp_path):
        with pytest.raises(TypeError, match=r"save\(path, potential\) needs a Potential second"):
            save(random_potential(5), str(tmp_path / "pot.mtp"))

    def test_unknown_dialect(self, tmp_path):
        with pytest.raises(ValueError, match="'grouped' or 'flat', got 'old'"):
            save(tmp_path / "a.mtp", random_potential(5), dialect="old")


class TestLayout:
    """What MLIP-3, which reads word by word, needs."""

    def test_sequence(self, tmp_path):
        save(tmp_path / "a.mtp", random_potential(6, low=-2, high=3))
        lines = (tmp_path / "a.mtp").read_text().split("\n")
        assert lines[:3] == ["MTP", "version = 1.1.0", "potential_name = MTP1m"]
        keys = [line.split(" = ")[0] for line in lines[3:] if not line.startswith("\t\t")]
        assert keys == [
            "scaling", "species_count", "potential_tag", "radial_basis_type",
            "\tmin_dist", "\tmax_dist", "\tradial_basis_size",
            "magnetic_basis_type", "\tmin_val", "\tmax_val", "\tbasis_size",
            "\tradial_funcs_count", "\tradial_coeffs",
            "alpha_moments_count", "alpha_index_basic_count", "alpha_index_basic",
            "alpha_index_times_count", "alpha_index_times", "alpha_scalar_moments",
            "alpha_moment_mapping", "species_coeffs", "moment_coeffs", "",
        ]  # fmt: skip
        assert "\tmin_val = -2.0" in lines
        assert [line for line in lines if line.startswith("\t\t") and "{" not in line] == [
            "\t\t0-0", "\t\t0-1", "\t\t1-0", "\t\t1-1",
        ]  # fmt: skip

    def test_tag_is_json(self, tmp_path):
        save(tmp_path / "a.mtp", random_potential(6).replace(tag="x = 1"))
        line = (tmp_path / "a.mtp").read_text().split("\n")[5]
        content = json.loads(line.removeprefix("potential_tag = "))
        assert content["species"] == ["Fe", "Al"]
        assert content["tag"] == "x = 1"

    def test_no_products(self, tmp_path):
        save(tmp_path / "a.mtp", random_potential(6, level=2))
        assert "alpha_index_times = {}\n" in (tmp_path / "a.mtp").read_text()


class TestAgainstMotep:
    @property
    def mtp(self):
        return pytest.importorskip("motep.io.mlip.mtp")

    @pytest.mark.parametrize("dialect", ["grouped", "flat"])
    def test_it_reads_what_we_write(self, tmp_path, dialect):
        pot = random_potential(7, level=8, low=-2.0, high=3.5).replace(tag="a = {b}, 1")
        save(tmp_path / "a.mtp", pot, dialect)
        data = self.mtp.read_mmtp(tmp_path / "a.mtp")
        assert data.scaling == pot.scaling
        assert data.species_count == 2
        assert (data.radial_basis.min, data.radial_basis.max) == (pot.min_dist, pot.cutoff)
        assert data.radial_basis.type == "RBChebyshev"
        assert data.radial_basis.size == 3
        assert (data.magnetic_basis.min, data.magnetic_basis.max) == (-2, 3.5)
        assert data.magnetic_basis.size == 2
        assert data.radial_funcs_count == pot.tables.n_radial
        assert np.array_equal(
            data.radial_coeffs.reshape(pot.radial_coeffs.shape), pot.radial_coeffs
        )
        assert np.array_equal(data.alpha_index_basic, pot.tables.basic)
        assert np.array_equal(data.alpha_index_times, pot.tables.products)
        assert np.array_equal(data.alpha_moment_mapping, pot.tables.scalars)
        assert data.alpha_moments_count == pot.tables.n_moments
        assert np.array_equal(data.species_coeffs, pot.species_coeffs)
        assert np.array_equal(data.moment_coeffs, pot.moment_coeffs)

    def test_we_read_what_it_writes(self, tmp_path):
        pot = random_potential(8, level=8, low=-2.0, high=3.5, form="bare")
        save(tmp_path / "a.mtp", pot)
        self.mtp.write_mtp(tmp_path / "b.mtp", self.mtp.read_mmtp(tmp_path / "a.mtp"))
        assert "\tsize = " in (tmp_path / "b.mtp").read_text()
        again = load(tmp_path / "b.mtp", ("Fe", "Al"))
        for name in ("radial_coeffs", "moment_coeffs", "species_coeffs", "min_dist", "max_magmom"):
            np.testing.assert_allclose(getattr(again, name), getattr(pot, name), rtol=1e-15)
        # It keeps the tag, and with it what we added.
        assert again.level == 8

    @pytest.mark.parametrize("name", ["02", "04", "06", "10", "12", "16", "18"])
    def test_reference_files(self, tmp_path, name):
        file = REFERENCE / f"{name}.mmtp"
        if not file.exists():
            pytest.skip("the reference files are not here")
        pot, data = load(file, "Fe"), self.mtp.read_mmtp(file)
        assert (pot.form, pot.level, pot.tag) == ("bare", None, "")
        assert (pot.min_magmom, pot.max_magmom) == (-3.5, 3.5)
        assert (pot.min_dist, pot.cutoff, pot.scaling) == (2.0, 5.5, 1.0)
        assert np.array_equal(data.radial_coeffs.ravel(), pot.radial_coeffs.ravel())
        assert np.array_equal(data.alpha_index_times, pot.tables.products)
        assert np.array_equal(data.moment_coeffs, pot.moment_coeffs)
        save(tmp_path / "a.mtp", pot)
        same(pot, load(tmp_path / "a.mtp"))


def without(*keys):
    return "".join(
        line for line in SMALL.splitlines(keepends=True) if line.split("=")[0].strip() not in keys
    )


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "first line has to be MTP"),
        ("MTP2\n" + SMALL, "first line has to be MTP"),
        (SMALL.replace("1.1.0", "1.2.0"), r"'version = 1.2.0', but can only read.*1\.1\.0"),
        (b"MTP\n\xff\xfe", r"is not text \(its byte 4 is no UTF-8\)"),
        (without("version"), "can only read files with 'version = 1.1.0'"),
        (without("species_count"), "species_count is missing"),
        (without("radial_basis_type"), "unknown key 'min_dist'"),
        (without("min_dist"), "min_dist is missing"),
        (without("basis_size"), "basis_size .mag_basis_size. of the magnetic basis is missing"),
        (without("min_val"), "min_val .min_mag. is missing"),
        (without("radial_funcs_count"), "radial_funcs_count is missing"),
        (without("alpha_index_basic"), "alpha_index_basic is missing"),
        (without("moment_coeffs"), r"moment_coeffs missing.*untrained template.*Potential\.new"),
        (
            SMALL[: SMALL.index("\tradial_coeffs")] + SMALL[SMALL.index("alpha_mom") :],
            r"radial_coeffs missing.*Potential\.new",
        ),
        (
            SMALL[: SMALL.index("\t\t0-0")] + SMALL[SMALL.index("alpha_moments") :],
            r"radial_coeffs missing.*Potential\.new",
        ),
        (SMALL[: SMALL.index("alpha_scalar")], "species_coeffs, moment_coeffs missing.*or cut"),
        (SMALL.replace("{0.25, ", "{"), r"line 33: moment_coeffs has 1 number\(s\), expected 2"),
        (SMALL.replace("RBChebyshev", "RBJacobi"), "'RBJacobi' is not supported"),
        (SMALL.replace("= BChebyshev", "= BTaylor"), "'BTaylor' is not supported"),
        (SMALL.replace("\tmin_val", "\tscaling = 2\n\tmin_val"), "scaling .* basis. is not 1"),
        (SMALL.replace("scaling = 2.0", "scaling = two"), "scaling holds something.*'two'"),
        (SMALL.replace("scaling = 2.0", "scaling = inf"), "scaling holds .* not finite"),
        (SMALL.replace("-1.5, -2.5", "-1.5, nan"), "species_coeffs holds .* not finite"),
        (SMALL.replace("-1.5, -2.5", "-1.5"), r"species_coeffs has 1 number\(s\), expected 2"),
        (SMALL.replace("species_count = 2", "species_count = -2"), "species_count is '-2'"),
        (SMALL.replace("max_dist = 5.0e+00", "max_dist = 1.5"), "min_dist 1.5 is not below"),
        (SMALL.replace("max_val = 2", "max_val = -3"), "is not below max_val"),
        (SMALL.replace("max_val = 2", "max_val = {1, 2, 3}"), "max_val .* has 3 .* expected 2"),
        (SMALL.replace("\tbasis_size = 2", "\tbasis_size = 0"), "basis_size .* is 0"),
        (SMALL.replace("\tbasis_size = 2", "\tbasis_size = 3"), "row 1 of radial_coeffs has 4"),
        (SMALL.replace("{5, 6,", "{5, x,"), "row 2 of radial_coeffs holds .*'x'"),
        (SMALL.replace("\t\t\t{5, 6, 7, 8}\n", ""), "radial_coeffs has 3 rows.* need 4"),
        (SMALL.replace("\t\t1-1\n", ""), "radial_coeffs has 3 blocks.* need 4"),
        (SMALL.replace("_funcs_count = 1", "_funcs_count = 2"), "radial_funcs_count is 2, but"),
        (SMALL.replace("basic_count = 1", "basic_count = 2"), "alpha_index_basic has 4 numbers"),
        (SMALL.replace("{{0, 0, 1, 1}}", "{{0, 0, 1, a}}"), "alpha_index_times holds"),
        (SMALL.replace("{{0, 0, 1, 1}}", "{{0, 1, 1, 1}}"), "tables .*inconsistent"),
        (SMALL.replace("moments_count = 2", "moments_count = 1"), "_times has moment 1, but"),
        (SMALL.replace("scaling =", "L = 2\nscaling ="), "unknown key 'L'"),
        (SMALL.replace("scaling =", "scaling = 1\nscaling ="), "scaling is there twice"),
        (SMALL.replace("alpha_moments_count", "garbage\nalpha_moments_count"), "cannot read 'garb"),
        (SMALL.replace("made by", '{"mmtp_jax":1,'), "potential_tag holds .* broken JSON"),
        (
            SMALL.replace("made by hand = yes", '{"mmtp_jax":99}'),
            "potential_tag is of version 99.*newer",
        ),
        (SMALL.replace("scaling =", "# mine\nscaling ="), "line 4: found '# mine'; .* no comments"),
        (SMALL.replace("scaling = 2.0", "scaling = 2.0 # mine"), r"line 4: scaling has 3 number"),
        (SMALL.replace("moment_c", "version = 2.0.0\nmoment_c"), "version is there twice.* line 2"),
        (SMALL.replace("alpha_mom", "\tradial_coeffs\nalpha_mom"), "radial_coeffs is there twice"),
        (SMALL.replace("\t1-0", "\t0-1"), "blocks 0-0, 0-1, 0-1, 1-1; it needs each pair once"),
        (SMALL.replace("\t0-1", "\t1-x"), "cannot read '1-x'"),
        (SMALL.replace("{0.25, 0.5}", "{0.25, 0.5"), "has to be numbers between two braces"),
        (SMALL.replace("{0.25,", "{-1_5,"), r"moment_coeffs holds .* not a number .'-1_5'"),
        (SMALL.replace("{0.25,", "{0x10,"), r"moment_coeffs holds .* not a number .'0x10'"),
        (SMALL.replace("{0.25,", "{1e999,"), "moment_coeffs holds .* not finite"),
        (SMALL.replace("max_dist = 5.0e+00", "max_dist = 1e4"), "max_dist 10000 .* more than 20"),
        (SMALL.replace("min_dist = 1.5", "min_dist = -1"), "min_dist -1 .* negative"),
        (SMALL.replace("max_val = 2", "max_val = 1e300"), "max_val .* beyond 100 mu_B"),
        (SMALL.replace("{{0, 0, 0, 0}}", "{{0, 1000, 0, 0}}"), "rank above 30 .*1000"),
        (SMALL.replace("{{0, 0, 0, 0}}", "{{0, 0}, {0, 0}}"), "rows of other lengths than 4"),
        (SMALL.replace("{{0, 0, 1, 1}}", "{{0, 0, 0, 1}}"), "multiplier 0 in row 1"),
        (SMALL.replace("{{0, 0, 1, 1}}", "{{0, 0, 1, 1}"), "alpha_index_times is not closed"),
        (SMALL.replace("{{0, 0, 1, 1}}", "{{0, 0, 1, 2147483647}}"), "has moment 2147483647"),
        (SMALL.replace("{{0, 0, 1, 1}}", "{{0, 0, 1, 9999999999}}"), "beyond 2147"),
        (SMALL.replace("moments_count = 2", "moments_count = 20000000"), "far more than"),
        (SMALL.replace("species_count = 2", f"species_count = {10**4000}"), "is .1000"),
        (SMALL.replace("species_count = 2", "species_count = 100000"), "number of elements"),
        (SMALL.replace("\tradial_basis_size = 1", "\tradial_basis_size = 0"), "basis_size is 0"),
    ],
)  # fmt: skip
def test_messages(tmp_path, text, message):
    with pytest.raises(ValueError, match=r"pot\.mtp") as caught:
        parse(tmp_path, text)
    assert caught.match(message)


@pytest.mark.parametrize(
    "change",
    [
        ('"mmtp_jax":1', '"mmtp_jbx":1'),
        ('"mmtp_jax":1', '"mmtp_jax":"1"'),
        ('"symmetrised":true', '"symmetrised":"no"'),
        ('"species":["Fe","Al"]', '"species":["Fe",["Al"]]'),
        ('"species":["Fe","Al"]', '"species":"FeAl"'),
        ('"level":4', '"level":' + "[" * 5000 + "]" * 5000),
        ('"level":4', '"level":1' + "0" * 5000),
        ('"level":4', '"level":4,"level":6'),
        ('"level":4', '"level":4,"factor":2'),
        ('"tag":""', '"tag":5'),
        ('{"mmtp_jax"', '"mmtp_jax"'),
    ],
)
def test_damaged_tag(tmp_path, change):
    """Species and symmetrisation stand in it: it must not pass for free text."""
    save(tmp_path / "pot.mtp", random_potential(9, level=4))
    text = (tmp_path / "pot.mtp").read_text()
    assert change[0] in text
    with pytest.raises(ValueError, match="line 6: potential_tag") as caught:
        parse(tmp_path, text.replace(*change))
    assert len(str(caught.value)) < 400


class TestConfinement:
    @pytest.fixture
    def potential(self):
        return with_confinement(random_potential(9, level=4))

    def test_round_trip(self, tmp_path, potential):
        save(tmp_path / "a.mtp", potential)
        found = load(tmp_path / "a.mtp")
        for copy in (found, pickle.loads(pickle.dumps(potential))):
            for name, values in potential.confinement._asdict().items():
                np.testing.assert_array_equal(getattr(copy.confinement, name), values)
        same(found.replace(confinement=None), potential.replace(confinement=None))

    def test_other_programs_skip_it(self, tmp_path, potential):
        save(tmp_path / "a.mtp", potential)
        save(tmp_path / "b.mtp", potential.replace(confinement=None))
        one, other = ((tmp_path / f"{k}.mtp").read_text() for k in "ab")
        assert without_tag(one) == without_tag(other)

    @pytest.mark.parametrize(
        "change",
        [
            ('"decay":[[', '"decay":[[0.1,0.1],['),
            ('"decay"', '"delay"'),
            ('"stiffness":[', '"stiffness":[-'),
            ('"repulsion":[[', '"repulsion":[["a",'),
        ],
    )
    def test_damaged(self, tmp_path, potential, change):
        save(tmp_path / "a.mtp", potential)
        text = (tmp_path / "a.mtp").read_text()
        assert change[0] in text
        with pytest.raises(ValueError, match=r"potential_tag holds .* confinement") as caught:
            parse(tmp_path, text.replace(*change))
        assert "float" not in str(caught.value)


class TestNoncollinearTerms:
    @pytest.fixture
    def potential(self):
        found = random_potential(9, level=4).with_noncollinear_terms(1, seed=9)
        coeffs = np.arange(5.0)[None] / 3
        return found.replace(noncollinear=found.noncollinear._replace(coeffs=coeffs))

    def test_round_trip(self, tmp_path, potential):
        save(tmp_path / "a.mtp", potential)
        for copy in (load(tmp_path / "a.mtp"), pickle.loads(pickle.dumps(potential))):
            same(copy.replace(noncollinear=None), potential.replace(noncollinear=None))
            for got, wanted in zip(copy.noncollinear, potential.noncollinear, strict=True):
                np.testing.assert_array_equal(got, wanted)
            assert np.array_equal(copy.flatten(), potential.flatten())
        # What is read as another energy has none.
        assert load(tmp_path / "a.mtp", form="bare").noncollinear is None

    def test_other_programs_skip_them_and_files_without_are_as_before(self, tmp_path, potential):
        save(tmp_path / "a.mtp", potential)
        save(tmp_path / "b.mtp", potential.replace(noncollinear=None))
        one, other = ((tmp_path / f"{k}.mtp").read_text() for k in "ab")
        assert without_tag(one) == without_tag(other)
        assert "noncollinear" not in other

    @pytest.mark.parametrize(
        "change",
        [
            ('"coeffs":[[0.0,', '"coeffs":[['),
            ('"coeffs"', '"coefs"'),
            ('"coeffs":[[0.0,', '"coeffs":[["a",'),
            ('"coeffs":[[0.0,', '"coeffs":[[1e999,'),
            ('"radial":[[[[[', '"radial":[[[[[0.0,'),
            ("\tradial_basis_size = 3", "\tradial_basis_size = 2"),
        ],
    )
    def test_damaged(self, tmp_path, potential, change):
        save(tmp_path / "a.mtp", potential)
        text = (tmp_path / "a.mtp").read_text()
        assert change[0] in text
        with pytest.raises(ValueError, match=r"potential_tag holds .* noncollinear") as caught:
            parse(tmp_path, text.replace(*change))
        assert "float" not in str(caught.value)

    def test_a_number_that_is_not_finite_is_not_written(self, tmp_path, potential):
        potential.noncollinear.coeffs[0, 0] = np.nan
        with pytest.raises(ValueError, match="noncollinear of the potential has a value"):
            save(tmp_path / "a.mtp", potential)


def test_cut_at_any_byte(tmp_path):
    """No part of a file loads; the last end of line is missing in files of MLIP-3."""
    for text in (SMALL, SMALL[: SMALL.index("scaling")] + SMALL[SMALL.index("species_coeffs") :]
                 + SMALL[SMALL.index("scaling") : SMALL.index("species_coeffs")]):  # fmt: skip
        assert parse(tmp_path, text[:-1]).moment_coeffs.tolist() == [0.25, 0.5]
        for end in (*range(0, 560, 7), *range(560, len(text) - 1)):
            with pytest.raises(ValueError, match=r"pot\.mtp"):
                parse(tmp_path, text[:end])


def test_deep_products(tmp_path):
    """A chain of products would be compiled one after the other."""
    chain = ", ".join(f"{{{k}, {k}, 1, {k + 1}}}" for k in range(20))
    text = SMALL.replace("{{0, 0, 1, 1}}", f"{{{chain}}}")
    text = text.replace("times_count = 1", "times_count = 20")
    with pytest.raises(ValueError, match="more than 16 products"):
        parse(tmp_path, text.replace("moments_count = 2", "moments_count = 21"))


class TestSpecies:
    def test_needed(self, tmp_path):
        with pytest.raises(ValueError, match=r"names no species.*species=\("):
            parse(tmp_path, SMALL, species=None)

    def test_number(self, tmp_path):
        with pytest.raises(
            ValueError, match=r"has 2 species \(species_count\), but the species Fe were"
        ):
            parse(tmp_path, SMALL, species="Fe")

    def test_twice(self, tmp_path):
        with pytest.raises(ValueError, match="symbol twice"):
            parse(tmp_path, SMALL, species=("Fe", "Fe"))

    def test_order(self, tmp_path):
        save(tmp_path / "a.mtp", random_potential(9))
        with pytest.raises(ValueError, match=r"for Fe Al, in this order, .* Al Fe"):
            load(tmp_path / "a.mtp", ("Al", "Fe"))


def test_common_interval_reads_elsewhere(tmp_path):
    """The documented way to bring intervals that differ between species to other programs."""

    mtp = pytest.importorskip("motep.io.mlip.mtp")
    pot = random_potential(10, low=[-3, -0.3], high=[3, 0.3])
    save(tmp_path / "a.mtp", pot)
    with pytest.raises(ValueError, match="could not convert"):
        mtp.read_mmtp(tmp_path / "a.mtp")
    save(tmp_path / "b.mtp", pot.with_common_interval())
    assert mtp.read_mmtp(tmp_path / "b.mtp").magnetic_basis.max == 3.0


class TestParity:
    """Potentials with radial functions of one parity, which need no tag to be known."""

    @pytest.fixture(params=["eoe", "be"])
    def potential(self, request):
        new = Potential.new(
            level={"eoe": 12, "be": 8}[request.param], species=("Fe", "Al"), radial_size=2,
            magnetic_size=3, max_magmom=(3.0, 0.1), form="parity", pattern=request.param,
        )  # fmt: skip
        return new.replace(moment_coeffs=np.arange(1.0, 1 + new.tables.n_scalars))

    def test_round_trip(self, tmp_path, potential):
        save(tmp_path / "a.mtp", potential)
        same(load(tmp_path / "a.mtp"), potential)

    def test_other_programs_files(self, tmp_path, potential):
        """Without our tag, zeros and tables say the form."""
        save(tmp_path / "a.mtp", potential)
        text = without_tag((tmp_path / "a.mtp").read_text())
        found = parse(tmp_path, text)
        assert (found.form, found.parities) == ("parity", potential.parities)
        np.testing.assert_array_equal(found.flatten(), potential.flatten())
        assert parse(tmp_path, text, form="bare").form == "bare"

    def test_radial_functions_are_numbered_without_gaps(self, tmp_path, potential):
        save(tmp_path / "a.mtp", potential)
        text = (tmp_path / "a.mtp").read_text()
        used = {
            int(row.split(",")[0])
            for row in re.findall(
                r"\{(\d+, \d+, \d+, \d+)\}",
                text[text.index("alpha_index_basic =") : text.index("alpha_index_times_count")],
            )
        }
        assert used == set(range(len(potential.parities)))
        assert f"radial_funcs_count = {len(used)}\n" in text

    def test_a_tag_that_says_something_else(self, tmp_path, potential):
        save(tmp_path / "a.mtp", potential.with_common_interval())
        text = (tmp_path / "a.mtp").read_text()
        named = f'"parities":"{potential.parities}"'
        assert named in text
        other = named.replace("o", "e")
        assert other != named
        with pytest.raises(ValueError, match="potential_tag says that the radial functions are"):
            parse(tmp_path, text.replace(named, other))
        with pytest.raises(ValueError, match="needs intervals from -M to M"):
            parse(tmp_path, text.replace("max_val = 3.0", "max_val = 2.5"))

    def test_filled_zeros(self, tmp_path, potential):
        """As another program leaves them that fits the potential further."""
        changed = np.array(potential.radial_coeffs)
        changed[0, 1, 0, 0, 0, 1] = 1e-9
        save(tmp_path / "a.mtp", potential.replace(radial_coeffs=changed))
        with pytest.warns(LostSymmetryWarning, match=r"a\.mtp: was written as .* even"):
            found = load(tmp_path / "a.mtp")
        assert found.form == "bare"
        assert not found.even
        text = without_tag((tmp_path / "a.mtp").read_text())
        again = parse(tmp_path, text)
        assert again.form == "bare"
        np.testing.assert_array_equal(again.flatten(), found.flatten())

    def test_asymmetric_intervals_are_bare(self, tmp_path, potential):
        moved = potential.replace(min_magmom=np.array([-2.9, -0.1]))
        save(tmp_path / "a.mtp", moved)
        text = without_tag((tmp_path / "a.mtp").read_text())
        assert parse(tmp_path, text).form == "bare"

    def test_form_that_a_file_has_not(self, tmp_path):
        save(tmp_path / "a.mtp", random_potential(0))
        with pytest.raises(ValueError, match=r"a\.mtp: does not have the form parity"):
            load(tmp_path / "a.mtp", form="parity")


def without_tag(text):
    """The text of a file with nothing in potential_tag."""
    return re.sub("potential_tag = .*", "potential_tag = ", text)
