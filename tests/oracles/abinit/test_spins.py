"""Orientations in which vectors are computed."""

from __future__ import annotations

import numpy as np
import pytest

from mmtp_jax.oracles.abinit.spins import frames_of


@pytest.mark.parametrize("seed", range(4))
def test_two_orientations_have_x_components_of_one_sign_and_ratio(seed) -> None:
    print("seed", seed)
    rng = np.random.default_rng(seed)
    angles = rng.uniform(0.0, 2.8, 2 + seed)
    plane = np.linalg.qr(rng.normal(size=(3, 3)))[0][:2]
    moments = np.stack([np.cos(angles), np.sin(angles)], axis=1) @ plane
    moments *= rng.uniform(1.0, 3.0, (len(moments), 1))
    first, second = frames_of(moments)
    for frame in (first, second):
        assert not frame.collinear
        np.testing.assert_allclose(frame.rotation @ frame.rotation.T, np.eye(3), atol=1e-12)
        assert np.linalg.det(frame.rotation) == pytest.approx(1.0)
    one, other = (moments @ frame.rotation.T for frame in (first, second))
    assert one[:, 0].min() > 0.0
    np.testing.assert_allclose(other[:, 0], 0.5 * one[:, 0], atol=1e-12)


@pytest.mark.parametrize(
    ("moments", "words"),
    [
        (np.eye(3), "not in one plane"),
        ([[1, 0, 0], [-0.5, 0.8, 0], [-0.5, -0.8, 0]], "not within half a turn"),
    ],
)
def test_what_has_no_such_orientation_is_refused(moments, words) -> None:
    with pytest.raises(ValueError, match=words):
        frames_of(np.array(moments, float))


@pytest.mark.parametrize(
    "direction", [(1, 0, 0), (0, 1, 0), (0, 0, 1), (0, 0, -1), (1, 1, 0), (-3, 2, -1)]
)
def test_a_line_is_turned_onto_z(direction) -> None:
    unit = np.array(direction) / np.linalg.norm(direction)
    (frame,) = frames_of(np.outer([2.0, -1.0, 0.0], unit))
    assert frame.collinear
    turned = np.outer([2.0, -1.0, 0.0], unit) @ frame.rotation.T
    np.testing.assert_allclose(turned[:, :2], 0.0, atol=1e-12)
    np.testing.assert_allclose(abs(turned[:, 2]), [2.0, 1.0, 0.0], atol=1e-12)
    if direction == (0, 0, 1):
        # As they are given.
        np.testing.assert_allclose(turned[:, 2], [2.0, -1.0, 0.0], atol=1e-12)


def test_nothing_is_along_z() -> None:
    (frame,) = frames_of(np.zeros((3, 3)))
    assert frame.collinear
