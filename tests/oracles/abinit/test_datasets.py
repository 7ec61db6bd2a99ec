"""PAW datasets: where they are found and what is read from them."""

from __future__ import annotations

import pytest

from mmtp_jax.oracles.abinit.datasets import find_dataset

JTH = """<?xml  version="1.0"?>
<paw_dataset version="0.7">
<atom symbol="Fe" Z="26.00" core="10.00" valence="16.00"/>
<paw_radius rc=" 2.1153157434"/>
<valence_states>
  <state n=" 3" l="0" f=" 2.0000000E+00" rc=" 2.0126126692" e="-3.2883573E+00" id= "Fe1"/>
</valence_states>
</paw_dataset>
"""


def test_both_kinds_say_their_electrons_and_radii(dataset, tmp_path) -> None:
    (tmp_path / "Fe.xml").write_text(JTH)
    jth = find_dataset(str(tmp_path / "Fe.xml"), "Fe")
    assert (jth.symbol, jth.valence, jth.radius) == ("Fe", 16.0, 2.1153157434)
    # Rounded up: ABINIT refuses a smaller sphere than that of the dataset.
    assert jth.sphere == 2.12
    gpaw = find_dataset(str(dataset("Fe", packed=True)), "Fe")
    assert (gpaw.valence, gpaw.radius, gpaw.sphere) == (8.0, 2.2, 2.2)
    # Packed or not, it is the same dataset.
    assert gpaw.sha256 == find_dataset(str(dataset("Fe")), "Fe").sha256


def test_packed_ones_are_unpacked_into_the_folder(dataset, tmp_path) -> None:
    folder = tmp_path / "job"
    folder.mkdir()
    for packed in (True, False):
        found = find_dataset(str(dataset("Fe", packed=packed)), "Fe")
        found.install(folder, "Fe.xml")
        found.install(folder, "Fe.xml")
        assert (folder / "Fe.xml").read_text() == dataset("Fe").read_text()


def test_names_are_looked_up_in_folders(dataset, tmp_path, monkeypatch) -> None:
    path = dataset("Cr", valence=6, packed=True)
    monkeypatch.setenv("ABINIT_PP_PATH", str(tmp_path))
    for name in ("Cr.PBE.gz", "Cr.PBE"):
        assert find_dataset(name, "Cr").path == path
    with pytest.raises(ValueError, match=r"no PAW dataset 'Mn.none', neither here nor in .*gpaw"):
        find_dataset("Mn.none", "Mn")


def test_a_file_that_is_changed_is_read_again(dataset) -> None:
    first = find_dataset(str(dataset("Fe", valence=8)), "Fe")
    second = find_dataset(str(dataset("Fe", valence=16)), "Fe")
    assert (first.valence, second.valence) == (8.0, 16.0)
    assert first.sha256 != second.sha256


def test_what_cannot_be_used_is_refused(dataset, tmp_path) -> None:
    with pytest.raises(ValueError, match="is for Cr, not for Fe"):
        find_dataset(str(dataset("Cr")), "Fe")
    other = tmp_path / "Fe.psp8"
    other.write_text("Fe  ONCVPSP-3.2.3.1\n")
    with pytest.raises(ValueError, match="is no PAW dataset in XML"):
        find_dataset(str(other), "Fe")
    new = tmp_path / "Fe.new"
    new.write_text(dataset("Fe").read_text().replace("r=a*i/(n-i)", "r=a*i/(1-b*i)"))
    with pytest.raises(ValueError, match="take an older setup"):
        find_dataset(str(new), "Fe")
