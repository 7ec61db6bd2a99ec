"""What checkpoints and the files of a loop hold is checked; nothing here runs a simulation."""

from __future__ import annotations

import json
from dataclasses import asdict

import jax
import numpy as np
import pytest

from mmtp_jax.active.learning_state import LearnFolder, Row, State
from mmtp_jax.fitting.checkpoint import Checkpoint
from mmtp_jax.io import dynamics_checkpoint, spin_checkpoint
from mmtp_jax.io.dynamics_checkpoint import load_dynamics, save_dynamics
from mmtp_jax.io.spin_checkpoint import load_spins, save_spins
from mmtp_jax.io.store import read_store, write_store


def numbers(skeleton):
    """Arrays of the types and shapes that the leaves say, with 4 for every free length."""

    def array(form: str) -> np.ndarray:
        kind, *axes = form.split()
        # An axis with ? may be left out, and is.
        shape = [int(axis) if axis.isdigit() else 4 for axis in axes if not axis.endswith("?")]
        return np.ones(shape, {"f": float, "iu": np.int32, "u": np.uint32, "b": bool}[kind])

    return jax.tree.map(array, skeleton)


@pytest.fixture
def dynamics(tmp_path):
    """A checkpoint of step 1."""
    saved = numbers(dynamics_checkpoint._SKELETON)
    save_dynamics(tmp_path / "md.npz", saved, "abc", {"a.csv": 7})
    return tmp_path / "md.npz"


def test_dynamics_come_back(dynamics) -> None:
    saved, files = load_dynamics(dynamics, "abc")
    assert files == {"a.csv": 7}
    assert saved.state.step == 1
    np.testing.assert_array_equal(saved.state.system.positions, np.ones((4, 4, 3)))
    with pytest.raises(ValueError, match="belongs to another run"):
        load_dynamics(dynamics, "other")


def test_moments_may_be_vectors(dynamics) -> None:
    header, arrays = read_store(dynamics, "", "")
    arrays["state.system.magmoms"] = np.ones((4, 4, 3))
    write_store(dynamics, header, arrays)
    assert load_dynamics(dynamics, "abc")[0].state.system.magmoms.shape == (4, 4, 3)


@pytest.mark.parametrize(
    ("where", "value"),
    [
        ("state.system.magmoms", np.ones((4, 4, 2))),
        ("state.system.positions", np.full((4, 4, 3), np.nan)),
        ("state.system.velocities", np.full((4, 4, 3), np.inf)),
        ("state.system.positions", np.ones((4, 5, 3))),
        ("state.system.positions", np.ones((4, 4, 3), int)),
        ("state.system.running", np.ones(4)), ("state.step", np.ones(1, int)),
        ("width", np.asarray(1.0)), ("step", -1), ("state.step", np.asarray(0)),
        ("state.system.masses", np.zeros(4)),
        ("files", []), ("files", {"a.csv": "7"}), ("files", {"a.csv": 1.5}), ("step", None),
        ("step", 10**400), ("step", True), ("other", 1),
    ],
)  # fmt: skip
def test_checkpoints_that_are_none_are_refused(dynamics, where, value) -> None:
    header, arrays = read_store(dynamics, "", "")
    (arrays if where in arrays else header)[where] = value
    write_store(dynamics, header, arrays)
    with pytest.raises(ValueError, match=r"md\.npz is not a readable checkpoint of dynamics"):
        load_dynamics(dynamics, "abc")


def test_atoms_without_neighbours_have_an_infinite_distance(dynamics) -> None:
    header, arrays = read_store(dynamics, "", "")
    write_store(dynamics, header, arrays | {"state.known.shortest": np.full(4, np.inf)})
    assert np.isinf(load_dynamics(dynamics, "abc")[0].state.known.shortest).all()


def test_walks_come_back_and_are_checked(tmp_path) -> None:
    path = tmp_path / "mc.npz"
    walks = {n: numbers(spin_checkpoint._skeleton(n, False)) for n in (1, 2)}
    save_spins(path, walks, "abc", {}, 7)
    found, files, burn_in = load_spins(path, "abc")
    assert (list(found), files, burn_in) == ([1, 2], {}, 7)
    header, arrays = read_store(path, "", "")
    for sizes in ([1, "2"], 5, {"1": 2}):
        write_store(path, header | {"sizes": sizes}, arrays)
        with pytest.raises(
            ValueError, match=r"mc\.npz is not a readable checkpoint of Monte Carlo"
        ):
            load_spins(path, "abc")


@pytest.mark.parametrize("history", [None, 5, ["1"], [10**400], [True], [[1.0]]])
def test_the_history_of_a_fit_is_numbers(tmp_path, history) -> None:
    checkpoint = Checkpoint(tmp_path / "fit.npz", "abc", {"x": np.zeros(3)}, 1)
    checkpoint.save([2.0, 1.0], {"x": np.arange(3.0)})
    state, found = checkpoint.load()
    assert found == [2.0, 1.0]
    np.testing.assert_array_equal(state["x"], np.arange(3.0))
    header, arrays = read_store(checkpoint.path, "", "")
    write_store(checkpoint.path, header | {"history": history}, arrays)
    with pytest.raises(ValueError, match=r"fit\.npz is not a readable fit checkpoint"):
        checkpoint.load()


# --- a loop of learning ---------------------------------------------------------------


BAD = ["[]", "5", "null", "[" * 10**5, '{"a":' * 10**5, "NaN"]


@pytest.mark.parametrize(
    "content",
    [*BAD, *({"iteration": v} for v in ("1", None, True, -1, 1.5, 10**400)), {"stage": "dream"},
     {"finished": "no"}, {"message": float("nan")}, {"format": "other"}, {"more": 1}],
)  # fmt: skip
def test_the_state_of_a_loop_is_checked(tmp_path, content) -> None:
    files = LearnFolder(tmp_path)
    files.save(State(iteration=2), "abc")
    assert files.open("abc") == State(iteration=2)
    path = tmp_path / "state.json"
    if isinstance(content, dict):
        content = json.dumps(json.loads(path.read_text()) | content)
    path.write_text(content)
    with pytest.raises(ValueError, match=r"state\.json is not the state of a loop of learning"):
        files.open("abc")


@pytest.mark.parametrize("content", [*BAD, {"training": "many"}, {"labelled": 1.5}, {"more": 1}])
def test_the_rows_of_a_loop_are_checked(tmp_path, content) -> None:
    files = LearnFolder(tmp_path)
    row = Row(0, 5, None, 1.0, None, 2.0, None, 3.0, highest_grade=4.5)
    files.summarise(row)
    assert files.rows() == [row]
    path = tmp_path / "iteration-000" / "summary.json"
    path.write_text(json.dumps(asdict(row) | content) if isinstance(content, dict) else content)
    with pytest.raises(ValueError, match=r"summary\.json is damaged .*; restore it"):
        files.rows()
