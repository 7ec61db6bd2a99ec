"""The mean of a committee as a potential of its own."""

from __future__ import annotations

import numpy as np
import pytest

import mmtp_jax as mmtp
from mmtp_jax.interfaces.evaluation import evaluate_structures
from mmtp_jax.potential.potential import Confinement

VALUES = ("energy", "energies", "forces", "stress", "magnetic_forces")


def _members(form: str, levels=(4, 6), **options) -> list[mmtp.Potential]:
    rng = np.random.default_rng(3)
    found = []
    for seed, level in enumerate(levels):
        new = mmtp.Potential.new(
            level=level, species=("Fe", "Al"), form=form, radial_size=4, magnetic_size=3,
            min_dist=1.6, cutoff=4.0, max_magmom=3.0, seed=seed, **options,
        )  # fmt: skip
        found.append(
            new.replace(
                species_coeffs=rng.normal(size=2),
                moment_coeffs=rng.normal(size=new.tables.n_scalars),
                scaling=np.float64(0.5 + seed),
            )
        )
    return found


@pytest.mark.parametrize("form", ["parity", "bare", "symmetrised"])
def test_mean_potential_has_the_means_of_its_members(form, random_structure, tmp_path) -> None:
    members = _members(form)
    structures = [random_structure(k, 3) for k in range(2)]
    found = [evaluate_structures(p, structures) for p in members]
    mean = mmtp.mean_potential(members)
    mmtp.save(tmp_path / "mean.mtp", mean)
    assert mean.form == form
    assert mean.tables.n_scalars == sum(p.tables.n_scalars for p in members)
    for k, got in enumerate(evaluate_structures(mean, structures)):
        for name in VALUES:
            expected = np.mean([getattr(of[k], name) for of in found], axis=0)
            np.testing.assert_allclose(
                getattr(got, name), expected, rtol=1e-11, atol=1e-11 * np.abs(expected).max()
            )
    read = mmtp.load(tmp_path / "mean.mtp")
    assert read.form == form
    np.testing.assert_array_equal(read.flatten(), mean.flatten())


def test_mean_of_confined_potentials_is_confined(random_structure) -> None:
    confinement = Confinement(np.full((2, 2), 9.0), np.full((2, 2), 0.3), np.array([4.0, 2.0]))
    members = [p.replace(confinement=confinement) for p in _members("parity")]
    # A moment outside of its interval.
    structure = random_structure(1, 3)
    structure.magmoms[0] = 3.6
    with pytest.warns(mmtp.ExtrapolationWarning):
        each = [evaluate_structures(p, [structure])[0].energy for p in members]
    with pytest.warns(mmtp.ExtrapolationWarning):
        energy = evaluate_structures(mmtp.mean_potential(members), [structure])[0].energy
    assert energy == pytest.approx(np.mean(each), rel=1e-12)


def test_members_that_have_no_mean_are_refused() -> None:
    one, other = _members("parity")
    with pytest.raises(ValueError, match="two potentials or more, got 1"):
        mmtp.mean_potential([one])
    with pytest.raises(ValueError, match=r"b\.mtp and a\.mtp differ in their cutoffs"):
        mmtp.mean_potential([one, other.replace(cutoff=np.float64(4.5))], ["a.mtp", "b.mtp"])
    with pytest.raises(ValueError, match="the same species in the same order"):
        mmtp.mean_potential([one, other.replace(species=("Al", "Fe"))])
    with pytest.raises(ValueError, match="differ in their forms"):
        mmtp.mean_potential([one, _members("bare")[1]])
