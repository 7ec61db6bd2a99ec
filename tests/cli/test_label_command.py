"""``mmtp label``, and settings files of labellers in other commands."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from ase.build import bulk

import mmtp_jax as mmtp
from mmtp_jax.cli.commands.learn import _oracle
from mmtp_jax.cli.fit_settings import Form
from mmtp_jax.cli.learn_settings import Data, LearnSettings, Oracle, Simulation, check


@pytest.fixture(scope="module")
def files(iron_file, tmp_path_factory) -> SimpleNamespace:
    folder = tmp_path_factory.mktemp("label")
    cells = []
    for k, symbol in enumerate(("Fe", "Fe", "Cr")):
        atoms = bulk(symbol, "bcc", a=2.8 + 0.02 * k, cubic=True)
        atoms.rattle(0.03, seed=k)
        atoms.set_initial_magnetic_moments([2.0, -1.8])
        atoms.info["tag"] = k
        cells.append(atoms)
    mmtp.write(folder / "good.extxyz", cells[:2])
    mmtp.write(folder / "mixed.extxyz", cells)
    oracle = folder / "teacher.toml"
    oracle.write_text(f'code = "potential"\n[potential]\npath = "{iron_file}"\n')
    return SimpleNamespace(folder=folder, cells=cells, oracle=oracle)


def test_labels_go_to_a_file_and_are_not_computed_twice(iron_file, run, files, tmp_path) -> None:
    output, good = tmp_path / "labelled.extxyz", files.folder / "good.extxyz"
    done = run("label", good, "--oracle", files.oracle, "-o", output)
    assert done.status == 0, done.err
    assert "2 labelled (2 now, 0 before)" in done.out
    assert (tmp_path / "labelled-jobs" / "job-00001" / "result.json").exists()
    expected = mmtp.evaluate(mmtp.load(iron_file), files.cells[:2])
    for atoms, target, result in zip(mmtp.read(output), files.cells, expected, strict=False):
        assert atoms.get_potential_energy() == pytest.approx(result.energy, abs=1e-6)
        np.testing.assert_allclose(atoms.get_forces(), result.forces, atol=1e-7)
        np.testing.assert_allclose(
            atoms.arrays["magnetic_forces"], result.magnetic_forces, atol=1e-7
        )
        assert atoms.info["tag"] == target.info["tag"]
        assert atoms.info["labelled_by"].startswith("mmtp_jax ")
    again = run("label", good, "--oracle", files.oracle, "-o", output)
    assert "2 labelled (0 now, 2 before)" in again.out


def test_a_dry_run_says_what_would_be_done_and_writes_nothing(run, files, tmp_path) -> None:
    done = run(
        "label", files.folder / "mixed.extxyz", "--oracle", files.oracle, "--dry-run", "--resume",
        "-o", tmp_path / "labelled.extxyz",
    )  # fmt: skip
    # What the run would refuse, the dry run does.
    assert done.status == 1, done.err
    assert "configuration 3 would be refused: Cr2: has Cr, but the potential is for Fe" in done.out
    assert "PotentialOracle would label 2 of Fe2, 1 of Cr2" in done.out
    good = run(
        "label", files.folder / "good.extxyz", "--oracle", files.oracle, "--dry-run",
        "-o", tmp_path / "labelled.extxyz",
    )  # fmt: skip
    assert good.status == 0, good.err
    assert not list(tmp_path.iterdir())


def test_vectors_are_labelled_or_refused_alike(run, files, tmp_path) -> None:
    canted = files.cells[0].copy()
    del canted.arrays["initial_magmoms"]
    canted.set_initial_magnetic_moments([[0.3, -0.2, 1.9], [1.2, 0.9, -1.5]])
    data = tmp_path / "canted.extxyz"
    mmtp.write(data, [canted, files.cells[1]])
    for form, status in (("parity", 0), ("bare", 1)):
        mmtp.save(tmp_path / "pot.mtp", mmtp.Potential.new(
            level=4, species=("Fe",), form=form, radial_size=3, magnetic_size=2, min_dist=1.9,
            cutoff=4.0, max_magmom=3.0, seed=0,
        ))  # fmt: skip
        oracle = tmp_path / "teacher.toml"
        oracle.write_text(f'code = "potential"\n[potential]\npath = "{tmp_path}/pot.mtp"\n')
        command = ("label", data, "--oracle", oracle, "-o", tmp_path / f"{form}.extxyz")
        dry, done = run(*command, "--dry-run"), run(*command)
        assert (dry.status, done.status) == (status, status), dry.out + done.out
        assert ("configuration 1 would be refused" in dry.out) == bool(status)
    first, second = mmtp.read(tmp_path / "parity.extxyz")
    np.testing.assert_allclose(
        first.get_magnetic_moments(), canted.get_initial_magnetic_moments(), atol=1e-8
    )
    assert first.arrays["magnetic_forces"].shape == (2, 3)
    assert second.arrays["magnetic_forces"].shape == (2,)


def test_what_fails_is_counted_with_its_reason(run, files, tmp_path) -> None:
    output, failed = tmp_path / "labelled.cfg", tmp_path / "failed.cfg"
    done = run(
        "label", files.folder / "mixed.extxyz", "--oracle", files.oracle, "-o", output,
        "--jobs", tmp_path / "jobs", "--failed", failed, "--retries", 0,
    )  # fmt: skip
    assert done.status == 1
    assert "2 labelled (2 now, 0 before)" in done.out
    assert "1 failed" in done.out
    assert "job-00002: " in done.out
    assert "has Cr, but the potential is for Fe" in done.out
    assert len(mmtp.read(output)) == 2
    assert mmtp.read(failed)[0].get_chemical_symbols() == ["Cr", "Cr"]


def test_nothing_labelled_writes_nothing(run, files, tmp_path) -> None:
    mmtp.write(tmp_path / "chromium.extxyz", files.cells[2:])
    output = tmp_path / "labelled.cfg"
    done = run("label", tmp_path / "chromium.extxyz", "--oracle", files.oracle, "-o", output)
    assert done.status == 1
    assert "nothing is labelled" in done.out
    assert not output.exists()


@pytest.mark.parametrize("suffix", [".extxyz", ".cfg"])
def test_labels_that_stand_apart_go_to_a_file_of_their_own(
    run, files, tmp_path, monkeypatch, suffix
) -> None:
    original = mmtp.PotentialOracle.label

    def label(self, atoms, folder):
        answer = original(self, atoms, folder)
        if atoms.info["tag"] == 1:
            answer.atoms.calc.results["energy"] -= 28.0
            mmtp.set_magnetic_forces(answer.atoms, [answer.atoms.arrays["magnetic_forces"][0], 6.1])
        return answer

    monkeypatch.setattr(mmtp.PotentialOracle, "label", label)
    cells = [files.cells[0].copy() for _ in range(5)]
    for k, atoms in enumerate(cells):
        atoms.info["tag"] = k
        atoms.rattle(0.01, seed=k)
    mmtp.write(tmp_path / "five.extxyz", cells)
    mmtp.write(tmp_path / "three.extxyz", cells[:3])
    output, suspect = tmp_path / f"labels{suffix}", tmp_path / f"labels.suspect{suffix}"

    def labelled(data, *options):
        done = run("label", tmp_path / data, "--oracle", files.oracle, "-o", output, *options)
        return done, [[int(a.info["tag"]) for a in mmtp.read(path)] if path.exists() else None
                      for path in (output, suspect)]  # fmt: skip

    # Three labels are no crowd; when there are more, the same one is judged again.
    done, (taken, aside) = labelled("three.extxyz")
    assert (done.status, taken, aside) == (0, [0, 1, 2], None), done.err
    done, (taken, aside) = labelled("five.extxyz")
    assert (done.status, taken, aside) == (1, [0, 2, 3, 4], [1])
    assert "5 labelled (2 now, 3 before), 0 s of jobs; 1 of them stand apart; 0 failed" in done.out
    assert "stands apart: job-00001: energy -" in done.out
    assert f"wrote {suspect}; look at these, and take them with --accept-outliers" in done.out
    (ghost,) = mmtp.read(suspect)
    assert "14 eV/atom below the median of 5 labels of Fe (limit 2)" in ghost.info["suspect"]
    assert ghost.arrays["magnetic_forces"][1] == 6.1
    done, (taken, aside) = labelled("five.extxyz", "--accept-outliers")
    assert (done.status, taken, aside) == (0, [0, 1, 2, 3, 4], None)
    assert Path(f"{suspect}.bak").exists()
    # Alone, it is held against those that exist already.
    mmtp.write(tmp_path / "ghost.extxyz", cells[1])
    good = tmp_path / "good.extxyz"
    mmtp.write(good, [a for a in mmtp.read(output) if int(a.info["tag"]) != 1])
    done, (_, aside) = labelled("ghost.extxyz", "--beside", good)
    assert (done.status, aside) == (1, [1])
    assert "all labels stand apart, so" in done.out


def test_mistakes_are_one_sentence(run, files, tmp_path) -> None:
    good, output = files.folder / "good.extxyz", tmp_path / "out.cfg"
    wrong = tmp_path / "wrong.toml"
    wrong.write_text('code = "abinit"\n[abinit]\necut = 3\n')
    for oracle, words in ((wrong, "did you mean 'ecut_Ha'"), (tmp_path / "none.toml", "none.toml")):
        done = run("label", good, "--oracle", oracle, "-o", output)
        assert done.status == 2
        assert words in done.err
        assert done.err.count("\n") == 1
    done = run("label", good, "--oracle", files.oracle, "-o", good)
    assert "is an input" in done.err


def test_settings_of_labellers_are_printed_and_checked(run, files, tmp_path) -> None:
    text = run("template", "abinit").out
    path = tmp_path / "abinit.toml"
    path.write_text(text)
    assert "valid settings of the labeller AbinitOracle" in run("validate", path).out
    path.write_text(text.replace("Fe =", "Xe =").replace("[abinit.datasets]", "[abinit.data]"))
    done = run("validate", path)
    assert done.status == 2
    assert "unknown key 'data'; did you mean 'datasets'" in done.err


def test_the_loop_takes_the_same_file(iron_file, files) -> None:
    def settings(**keys) -> LearnSettings:
        return LearnSettings(
            data=Data(files=("a.cfg",)),
            potential=Form(level=2, species=("Fe",)),
            oracle=Oracle(**keys),
            simulation=(Simulation(name="md", start=("a.cfg",)),),
        )

    chosen = settings(file=str(files.oracle))
    check(chosen, {"oracle": {"file": str(files.oracle)}})
    assert _oracle(chosen, ("Fe",)) == mmtp.PotentialOracle(str(iron_file))
    assert _oracle(settings(potential=str(iron_file)), ("Fe",)).species == ("Fe",)
    both = {"file": str(files.oracle), "potential": str(iron_file)}
    with pytest.raises(ValueError, match="cannot be given as well"):
        check(settings(**both), {"oracle": both})
