"""One iteration of the loop with ABINIT, two labels: scripts/demo_abinit_loop.py has the whole.

Labels by ABINIT are tested in `oracles/abinit/test_real.py`, loops in `test_learning.py`.
"""

from __future__ import annotations

import shutil
import sys
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path

import numpy as np
import pytest

import mmtp_jax as mmtp
from mmtp_jax.oracles.abinit.datasets import find_dataset

SCRIPTS = Path(__file__).parents[2] / "scripts"
START = SCRIPTS / "examples" / "abinit_loop" / "start.cfg"


@pytest.mark.slow
def test_what_is_selected_is_labelled_by_dft_and_learned(tmp_path) -> None:
    if shutil.which("abinit") is None:
        pytest.skip("ABINIT is not installed (apt-get install abinit)")
    try:
        find_dataset("Fe.PBE.gz", "Fe")
    except ValueError:
        pytest.skip("the PAW dataset of iron is not installed (apt-get install gpaw-data)")
    spec = spec_from_file_location("demo_abinit_loop", SCRIPTS / "demo_abinit_loop.py")
    demo = module_from_spec(spec)
    sys.modules[spec.name] = demo
    spec.loader.exec_module(demo)
    start = mmtp.read(START)
    setup = demo.Setup(
        level=4, radial_size=4, magnetic_size=3, cutoff=4.2, volumes=(1.0, 1.06), states=("fm",),
        temperatures=(100.0,), magmoms=(2.0,), n_steps=0, fit_steps=60, limit=2, low=1.5,
        high=1e6, max_iterations=1,
    )  # fmt: skip
    lines: list[str] = []
    learned = demo.run_loop(setup, start, tmp_path / "loop", lines.append)
    print("\n".join(lines), learned, sep="\n")
    row = learned.rows[0]
    assert (row.selected, row.labelled, row.failed) == (2, 2, 0)
    assert len(learned.training) == len(start) + 2
    selected = mmtp.read(tmp_path / "loop" / "iteration-000" / "selected.cfg")
    for target, atoms in zip(selected, learned.training[-2:], strict=True):
        np.testing.assert_allclose(
            atoms.get_magnetic_moments(), target.get_magnetic_moments(), atol=1e-4
        )
        # Moments that are not at equilibrium: the point of constrained DFT.
        assert np.abs(atoms.arrays["magnetic_forces"]).max() > 1e-3
        energy = atoms.get_potential_energy() / len(atoms)
        assert energy == pytest.approx(start[0].get_potential_energy() / 2, abs=3.0)
    # The next potential is fitted to them as well.
    assert learned.rows[1].training == len(start) + 2
    errors = demo.errors_by_iteration(learned, start)
    assert len(errors) == 2
    assert errors[1]["energy"] < 100.0
    assert demo.figure(learned, errors).axes
