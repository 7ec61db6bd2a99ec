"""``mmtp montecarlo`` and ``mmtp sample``: tables, plots, and what is refused."""

from __future__ import annotations

import csv
import json
import re
from pathlib import Path

import numpy as np
import pytest
from ase import Atoms

import mmtp_jax as mmtp
from mmtp_jax.simulation.spins.counts import Counts
from mmtp_jax.simulation.spins.run import refuse_hopeless


@pytest.fixture(scope="module")
def ising(tmp_path_factory, pair_teacher) -> tuple[Path, Path]:
    """A square lattice with E = -0.05 eV s_i s_j for first neighbours, and one cell of it."""
    folder = tmp_path_factory.mktemp("ising")
    mmtp.save(folder / "ising.mtp", pair_teacher)
    cell = Atoms("Fe", cell=[2.0, 2.0, 10.0], pbc=(True, True, False))
    cell.set_initial_magnetic_moments([2.0])
    mmtp.write(folder / "cell.extxyz", cell)
    return folder / "ising.mtp", folder / "cell.extxyz"


def test_mc_finds_the_curie_temperature(read_back, run, ising, tmp_path) -> None:
    paths = {name: tmp_path / name for name in ("mc.csv", "mc.json", "mc.png")}
    result = run(
        "montecarlo", *ising, "--fixed-moments", "--sizes", 4, 8, "--temperatures", 1240, 1320,
        1400, "--sweeps", 4000, "--copies", 2, "-o", paths["mc.csv"], "--json", paths["mc.json"],
        "--plot", paths["mc.png"],
    )  # fmt: skip
    assert result.status == 0, result.err
    assert "crossing of the Binder cumulants" in result.out
    with open(paths["mc.csv"], newline="") as file:
        rows = list(csv.DictReader(file))
    assert [int(row["magnetic atoms"]) for row in rows] == [16] * 3 + [64] * 3
    assert float(rows[3]["U4"]) > float(rows[5]["U4"])
    content = json.loads(paths["mc.json"].read_text())
    # 2.269 J / k_B is 1317 K.
    assert abs(content["crossing_K"] - 1317) < 4 * content["crossing_error_K"] + 30
    assert read_back(paths["mc.png"])


def test_mc_says_which_order_it_found(run, ising, tmp_path) -> None:
    """Far below the Curie temperature, from stripes to the ferromagnet."""
    stripes, table = tmp_path / "stripes.extxyz", tmp_path / "mc.csv"
    cell = mmtp.read(ising[1])[0].repeat((4, 4, 1))
    cell.pbc = True
    cell.set_initial_magnetic_moments(np.where(np.rint(cell.positions[:, 0] / 2) % 2, 2.0, -2.0))
    mmtp.write(stripes, cell)
    result = run(
        "montecarlo", ising[0], stripes, "--fixed-moments", "--temperatures", 700, "--sweeps", 400,
        "-o", table,
    )  # fmt: skip
    assert result.status == 0, result.err
    assert re.search(r"\(0 0 0\) +9\d %|\(0 0 0\) +100 %", result.out)
    with open(table, newline="") as file:
        (row,) = csv.DictReader(file)
    assert [float(row[f"wave {x}"]) for x in "hkl"] == [0.0, 0.0, 0.0]
    assert float(row["wave share"]) > 0.8
    assert float(row["order"]) < 0.5


def test_sample_averages(iron_file, read_back, run, tmp_path) -> None:
    from ase.build import bulk

    cell = bulk("Fe", a=2.84, cubic=True).repeat((2, 2, 1))
    cell.set_initial_magnetic_moments([2.2] * 8)
    start = tmp_path / "cell.extxyz"
    mmtp.write(start, cell)
    result = run(
        "sample", iron_file, start, "-n", 12, "--fixed-moments", "--json", tmp_path / "a.json",
        "--plot", tmp_path / "a.png",
    )  # fmt: skip
    assert result.status == 0, result.err
    assert "12 states of 8 atoms, 8 magnetic" in result.out
    content = json.loads((tmp_path / "a.json").read_text())
    states = mmtp.sample_disorder(mmtp.load(iron_file), cell, 12, moments="fixed")
    assert np.isclose(content["energy"], states.energy)
    assert np.allclose(content["stress"], states.stress)
    assert read_back(tmp_path / "a.png")


def test_a_walk_whose_trials_all_fail_ends_and_says_why() -> None:
    tried, none = np.array([100, 100]), np.zeros(2, int)
    for accepted, refused, least in (
        (none + 1, tried - 1, 100),
        (none, none, 100),
        (none, tried, 101),
    ):
        refuse_hopeless(Counts(tried, accepted, refused), least)
    with pytest.raises(ValueError, match="of 200 trials none was accepted, and 198 were refused"):
        refuse_hopeless(Counts(tried, none, tried - 1), 100)


def test_a_cold_walk_without_accepted_trials_warns_and_prints_no_nan(run, ising) -> None:
    result = run(
        "montecarlo", *ising, "--fixed-moments", "--temperatures", 5, 10, "--sizes", 2, 3,
        "--sweeps", 40,
    )  # fmt: skip
    assert result.status == 0
    assert "no trial of 4 atoms was accepted at 5 K" in result.err
    assert "nan" not in result.out
    assert "none within the temperatures" in result.out
    table = [line for line in result.out.splitlines() if line.startswith(("atoms", "4 ", "9 "))]
    assert max(map(len, table)) <= 80


def test_states_that_are_all_alike_have_no_error(run, ising, tmp_path) -> None:
    pair = mmtp.read(ising[1])[0].repeat((2, 1, 1))
    mmtp.write(tmp_path / "pair.extxyz", pair)
    result = run("sample", ising[0], tmp_path / "pair.extxyz", "-n", 4, "--fixed-moments")
    assert result.status == 0, result.err
    assert "+- 0" not in result.out
    assert "without net moment, but for reversal" in result.err


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (("montecarlo", "--temperatures", -5), "must be positive"),
        (("montecarlo", "--temperatures", 300, "--sizes", 0), "--sizes must be at least 1"),
        (("montecarlo", "--temperatures", 300, "--plot", "x.txt"), "cannot plot to x.txt"),
        (("sample", "-n", 1, "--fixed-moments"), "-n must be at least 2"),
        (("sample", "--atom", 7), "--atom must be between"),
        (("montecarlo", "--temperatures", 300, "--resume"), "give the checkpoint that it wrote"),
    ],
)
def test_mistakes_are_named(run, ising, options, words) -> None:
    command, *rest = options
    result = run(command, *ising, *rest)
    assert result.status == 2
    assert words in result.err


@pytest.fixture(scope="module")
def walk(run, ising):
    """walk(folder, *options): sizes 2 and 3 at two temperatures, with checkpoint and table."""

    def of(folder: Path, *options: object):
        return run(
            "montecarlo", *ising, "--fixed-moments", "--sizes", 2, 3, "--temperatures", 1240, 1400,
            "--burn-in", 30, "--checkpoint", folder / "mc.npz", "-o", folder / "mc.csv", *options,
        )  # fmt: skip

    return of


def _walks(path: Path) -> dict[str, np.ndarray]:
    with np.load(path) as file:
        return {name: file[name] for name in file.files if name != "header"}


def _same(one: Path, other: Path) -> None:
    one, other = _walks(one), _walks(other)
    assert sorted(one) == sorted(other)
    for name in one:
        assert np.array_equal(one[name], other[name]), name


@pytest.fixture(scope="module")
def whole(walk, tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("whole")
    result = walk(folder, "--sweeps", 600)
    assert result.status == 0, result.err
    assert len(_walks(folder / "mc.npz")["['size3'].rows.energy"]) == 630
    return folder


@pytest.mark.parametrize("after", [1, 10, 300, 630, 640, 1200])
def test_ctrl_c_anywhere_loses_nothing(walk, whole, tmp_path, monkeypatch, after) -> None:
    """In the burn-in, within a size, between the sizes, and in the second."""
    total = 0

    class Interrupts:
        def __init__(self, *_):
            self.before = 0

        def __enter__(self):
            return self

        def __exit__(self, *_):
            pass

        def __call__(self, n_done):
            nonlocal total
            total += n_done - self.before
            self.before = n_done
            if total >= after:
                raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        # A few sweeps at a time, so that Ctrl-C comes where it should.
        patch.setattr("mmtp_jax.simulation.host_loop.SECONDS_PER_BLOCK", 1e-9)
        patch.setattr("mmtp_jax.progress.CountProgress", Interrupts)
        cut = walk(tmp_path, "--sweeps", 600)
        assert cut.status == 130, cut.err
    rows = sum(
        len(v) for k, v in _walks(tmp_path / "mc.npz").items() if "energy" in k and "rows" in k
    )
    assert rows == after
    result = walk(tmp_path, "--sweeps", 600, "--resume")
    assert result.status == 0, result.err
    _same(tmp_path / "mc.npz", whole / "mc.npz")
    assert (tmp_path / "mc.csv").read_text() == (whole / "mc.csv").read_text()


def test_a_walk_that_is_done_goes_on_with_more_sweeps(walk, whole, tmp_path, run, ising) -> None:
    assert walk(tmp_path, "--sweeps", 400).status == 0
    assert walk(tmp_path, "--sweeps", 600, "--resume").status == 0
    _same(tmp_path / "mc.npz", whole / "mc.npz")
    assert (tmp_path / "mc.csv").read_text() == (whole / "mc.csv").read_text()
    other = walk(tmp_path, "--sweeps", 600, "--resume", "--seed", 3)
    assert other.status == 2
    assert "belongs to another run" in other.err
    again = walk(tmp_path, "--sweeps", 200)
    assert f"kept as {tmp_path / 'mc.npz'}.bak" in again.out
    (tmp_path / "mc.npz").write_bytes(b"nothing")
    broken = walk(tmp_path, "--resume")
    assert "is not a readable checkpoint of Monte Carlo" in broken.err


@pytest.mark.parametrize("kind", ["--fixed-moments", "--sampled-moments"])
def test_the_burn_in_is_that_of_the_start(run, ising, tmp_path, kind) -> None:
    """Of signs, and of vectors, whose step sizes adapt in it."""

    def walk(name: str, *options: object):
        return run(
            "montecarlo", *ising, kind, "--sizes", 2, "--temperatures", 1240, 1400, "--copies", 8,
            "--checkpoint", tmp_path / f"{name}.npz", "-o", tmp_path / f"{name}.csv", *options,
        )  # fmt: skip

    walk("whole", "--sweeps", 300, "--burn-in", 4)
    walk("parts", "--sweeps", 40)
    for sweeps in (120, 300):
        result = walk("parts", "--sweeps", sweeps, "--resume")
        assert f"{sweeps} sweeps after a burn-in of 4," in result.out
    _same(tmp_path / "parts.npz", tmp_path / "whole.npz")
    assert (tmp_path / "parts.csv").read_text() == (tmp_path / "whole.csv").read_text()
    assert walk("parts", "--sweeps", 300, "--burn-in", 4, "--resume").status == 0
    other = walk("parts", "--sweeps", 300, "--burn-in", 30, "--resume")
    assert other.status == 2
    assert "parts.npz was begun with a burn-in of 4 sweeps, not with --burn-in 30" in other.err


def test_a_walk_too_short_for_errors_is_not_thrown_away(run, ising, tmp_path) -> None:
    paths = {name: tmp_path / f"mc.{name}" for name in ("csv", "json", "png", "npz")}

    def walk(*options: object):
        return run(
            "montecarlo", *ising, "--fixed-moments", "--sizes", 3, 4, "--temperatures", 1000, 1400,
            "--burn-in", 4, "-o", paths["csv"], "--json", paths["json"], "--plot", paths["png"],
            *options,
        )  # fmt: skip

    result = walk("--sweeps", 16, "--checkpoint", paths["npz"])
    assert result.status == 1, result.err
    (least,) = re.findall(
        r"16 sweeps of 16 magnetic atoms are too few for errors.* take at least (\d+),", result.err
    )
    assert int(least) > 16
    assert f"--resume --sweeps {least} goes on from {paths['npz']}" in result.err
    assert "no crossing is estimated" in result.out
    assert "nan" not in result.out
    content = json.loads(paths["json"].read_text())
    assert "crossing_K" not in content
    assert content["message"] == "a walk is too short for errors"
    errors = [row["order error"] for row in content["rows"]]
    assert len(errors) == 4
    assert None in errors
    assert all(0 < row["order"] < 1 + 1e-9 for row in content["rows"])
    assert paths["png"].exists()
    with open(paths["csv"], newline="") as file:
        assert [row["order error"] in ("", "nan") for row in csv.DictReader(file)] == [
            of is None for of in errors
        ]
    result = walk("--sweeps", 2000, "--checkpoint", paths["npz"], "--resume")
    assert result.status == 0, result.err
    assert "crossing of the Binder cumulants" in result.out
    assert "--resume" not in walk("--sweeps", 16).err


def test_checkpoints_are_written_on_the_way(walk, tmp_path, monkeypatch) -> None:
    from mmtp_jax.io import spin_checkpoint

    written = []
    save = spin_checkpoint.save_spins

    def counted(path, walks, *rest):
        written.append({size: len(walk.rows.energy) for size, walk in walks.items()})
        save(path, walks, *rest)

    monkeypatch.setattr("mmtp_jax.io.spin_checkpoint.save_spins", counted)
    result = walk(tmp_path, "--sweeps", 300, "--checkpoint-seconds", 0)
    assert result.status == 0, result.err
    assert written[0] == {2: 1}
    assert written[-1] == {2: 330, 3: 330}
    assert len(written) > 4
    assert {2: 330} in written
