"""maxvol against motep's, exhaustive search and the definitions; never a smaller volume."""

from itertools import combinations

import numpy as np
import pytest

from mmtp_jax.active import maxvol as module
from mmtp_jax.active.maxvol import maxvol, pivoted_rows

TINY = 1e-6
"""Scale of the identity's rows that leaves full-rank problems alone, as in MLIP."""


def log_volume(matrix) -> float:
    return float(np.linalg.slogdet(matrix)[1])


def random_rows(seed: int, n_rows: int, size: int) -> np.ndarray:
    """Rows of different lengths: some are worth much more than others."""
    rng = np.random.default_rng([seed, n_rows, size])
    return rng.normal(size=(n_rows, size)) * np.exp(rng.normal(size=(n_rows, 1)))


def rows_of(found, rows, missing_scale):
    """The active rows by their codes."""
    identity = missing_scale * np.eye(rows.shape[1])
    return np.stack([rows[k] if k >= 0 else identity[-1 - k] for k in found.active])


@pytest.fixture(scope="module")
def peer():
    return pytest.importorskip("motep.grade.maxvol").MaxVol


SHAPES = [(40, 20), (60, 9), (24, 24)]


@pytest.mark.parametrize(("n_rows", "size"), SHAPES)
def test_volume_is_never_below_that_of_motep_and_mlip(n_rows, size, peer):
    """Both of motep's algorithms end in local maxima, and now and then in different ones."""
    ours_is_larger = []
    for seed in range(60):
        rows = random_rows(seed, n_rows, size)
        found = maxvol(rows, missing_scale=TINY, tolerance=1e-9)
        by_qr = peer(algorithm="maxvol", init_method="qr", threshold=1e-9).run(rows)
        by_mlip = peer(algorithm="mlip").run(rows)
        qr, mlip = log_volume(by_qr.submatrix), log_volume(by_mlip.submatrix)
        assert found.converged, f"seed {seed}"
        assert found.log_volume >= max(qr, mlip) - 1e-8, f"seed {seed}"
        assert found.log_volume <= max(qr, mlip) + 1e-8 or n_rows > size, f"seed {seed}"
        ours_is_larger.append(found.log_volume > qr + 1e-8)
    # Both are exercised: cases where QR's start is as good, and where it is not.
    assert not all(ours_is_larger)


@pytest.mark.parametrize(("n_rows", "size"), SHAPES)
def test_from_the_rows_of_qr_it_ends_where_motep_does(n_rows, size, peer):
    for seed in range(60):
        rows = random_rows(seed, n_rows, size)
        start = np.asarray(pivoted_rows(rows))
        found = maxvol(rows, missing_scale=TINY, tolerance=1e-9, start=start)
        expected = peer(algorithm="maxvol", init_method="qr", threshold=1e-9).run(rows)
        assert found.log_volume == pytest.approx(log_volume(expected.submatrix), abs=1e-8), seed
        assert found.n_swaps == expected.nit, f"seed {seed}"
        np.testing.assert_array_equal(np.sort(found.active), expected.indices, f"seed {seed}")


@pytest.mark.parametrize(("n_rows", "size"), [(15, 30), (60, 20)])
def test_with_rows_of_the_identity_it_is_maxvol_of_the_longer_matrix(n_rows, size, peer):
    for seed in range(40):
        rows = random_rows(seed, n_rows, size)
        scale = 1.0
        longer = np.concatenate([rows, scale * np.eye(size)])
        found = maxvol(rows, missing_scale=scale, tolerance=1e-9)
        assert found.log_volume == pytest.approx(log_volume(found.submatrix), abs=1e-10)
        np.testing.assert_array_equal(found.submatrix, rows_of(found, rows, scale))
        for settings in ({"algorithm": "maxvol", "init_method": "qr"}, {"algorithm": "mlip"}):
            expected = peer(**settings, threshold=1e-9).run(longer)
            assert found.log_volume >= log_volume(expected.submatrix) - 1e-8, (seed, settings)


def test_pivoted_rows_are_those_of_lapack():
    from scipy.linalg import qr

    for seed in range(5):
        rows = random_rows(seed, 50, 20)
        np.testing.assert_array_equal(pivoted_rows(rows), qr(rows.T, pivoting=True)[2][:20])


def test_volume_is_within_the_known_factor_of_the_largest_one():
    """No grade above 1 means |det A| >= P^(-P/2) of the maximum (Hadamard); nearly always it is it.

    Every P x P submatrix is C_sub A with |C_sub| <= 1, and |det C_sub| <= P^(P/2).
    """
    optimal = 0
    for seed in range(40):
        rows = random_rows(seed, 10, 3)
        found = maxvol(rows, missing_scale=TINY, tolerance=1e-9)
        largest = max(log_volume(rows[list(subset)]) for subset in combinations(range(10), 3))
        assert largest - 1.5 * np.log(3.0) - 1e-9 <= found.log_volume <= largest + 1e-9
        optimal += found.log_volume > largest - 1e-9
    assert optimal > 30


@pytest.mark.parametrize("start", ["qr", "identity"])
def test_volume_never_decreases(start):
    rows = random_rows(5, 60, 12)
    codes = np.asarray(pivoted_rows(rows)) if start == "qr" else -1 - np.arange(12)
    if start == "qr":
        # The rows of QR are too good a start to see anything.
        codes = np.arange(12)
    volumes, n_swaps = [], maxvol(rows, start=codes, tolerance=1e-6).n_swaps
    assert n_swaps > 5
    for limit in range(n_swaps + 1):
        found = maxvol(rows, start=codes, tolerance=1e-6, max_swaps=limit)
        assert found.n_swaps == limit
        volumes.append(found.log_volume)
    assert np.all(np.diff(volumes) > np.log1p(1e-6) - 1e-12)


def test_grades_when_taken_are_the_gains_of_volume():
    rows = random_rows(8, 40, 10)
    start = np.arange(10)
    found = maxvol(rows, start=start)
    gains = found.entry_grade[found.entry >= 0]
    # No row came in twice here, so that every gain is on record.
    assert len(gains) == found.n_swaps
    gained = found.log_volume - log_volume(rows[start])
    assert np.log(gains).sum() == pytest.approx(gained, abs=1e-9)
    order = np.sort(found.entry[found.entry >= 0])
    np.testing.assert_array_equal(order, np.arange(found.n_swaps))


@pytest.mark.parametrize("tolerance", [1e-9, 1e-3, 0.3])
def test_at_the_end_no_coefficient_exceeds_one_plus_the_tolerance(tolerance):
    rows = random_rows(2, 80, 15)
    found = maxvol(rows, tolerance=tolerance)
    longer = np.concatenate([rows, 1e-3 * np.eye(15)])
    assert np.max(np.abs(longer @ np.linalg.inv(found.submatrix))) <= 1.0 + tolerance + 1e-9
    assert found.converged


def test_round_off_is_noticed_and_removed():
    """Rows of sizes over ten orders from a start of tiny rows: updates alone lose all digits."""
    rng = np.random.default_rng(4)
    rows = rng.normal(size=(300, 60)) * np.logspace(-10, 0, 300)[:, None]
    found = maxvol(rows, missing_scale=1e-12, start=-1 - np.arange(60))
    assert found.converged
    coefficients = np.linalg.solve(found.submatrix.T, rows.T)
    assert np.max(np.abs(coefficients)) <= 1.0 + 1e-3 + 1e-8


def test_rank_deficient_rows_leave_rows_of_the_identity():
    rng = np.random.default_rng(3)
    rows = rng.normal(size=(50, 7)) @ rng.normal(size=(7, 12))
    found = maxvol(rows)
    assert np.sum(found.active >= 0) == 7
    assert len(np.unique(found.active)) == 12
    coefficients = np.linalg.solve(found.submatrix.T, rows.T).T
    # Spanned rows need none of the identity.
    assert np.max(np.abs(coefficients[:, found.active < 0])) < 1e-10


def test_without_rows_everything_is_identity():
    found = maxvol(np.zeros((0, 4)), missing_scale=0.5)
    np.testing.assert_array_equal(np.sort(found.active), [-4, -3, -2, -1])
    assert found.log_volume == pytest.approx(4 * np.log(0.5))


def test_similar_numbers_of_rows_share_one_program():
    module._climb.clear_cache()
    for n_rows in (257, 270, 288):
        maxvol(random_rows(0, n_rows, 6))
    assert module._climb._cache_size() == 1


@pytest.mark.parametrize(
    ("rows", "settings", "message"),
    [
        (np.zeros(3), {}, "matrix"),
        (np.full((3, 2), np.nan), {}, "finite"),
        (np.ones((3, 2)), {"missing_scale": 0.0}, "missing_scale must be positive, got 0.0"),
        (np.ones((3, 2)), {"tolerance": -1.0}, "tolerance must be positive, got -1.0"),
    ],
)
def test_bad_input_is_refused(rows, settings, message):
    with pytest.raises(ValueError, match=message):
        maxvol(rows, **settings)
