"""Intervals over folds, and labels that may be wrong: against scipy, a simulation, and loops that follow the paper."""

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from regulo.analysis.crossval.predictions import Predictions, join_predictions, read_predictions
from regulo.analysis.crossval.statistics import mean_interval
from regulo.analysis.crossval.suspects import find_suspects
from regulo.core.files import atomic_write
from tests.conftest import rng


def test_with_independent_folds_the_interval_is_that_of_scipy() -> None:
    from scipy.stats import ttest_1samp

    values = rng().normal(0.8, 0.1, 7)
    interval = mean_interval(values.tolist(), 0.0)
    expected = ttest_1samp(values, 0).confidence_interval(0.95)
    assert (interval.n, interval.mean) == (7, pytest.approx(values.mean()))
    assert (interval.low, interval.high) == (pytest.approx(expected.low), pytest.approx(expected.high))
    assert mean_interval([0.5], 0.25).low is None


def test_an_interval_of_a_share_ends_at_its_limits() -> None:
    values = [1.0, 0.99, 0.9, 1.0, 1.0]
    free, limited = mean_interval(values, 0.25), mean_interval(values, 0.25, (0.0, 1.0))
    assert free.high is not None
    assert free.high > 1
    assert (limited.mean, limited.low, limited.high) == (free.mean, free.low, 1.0)


def test_the_interval_has_the_mean_in_95_of_100_cases_if_folds_are_correlated_as_is_assumed() -> None:
    """Nadeau & Bengio (2003), section 3: the correlation of two scores is n_test / (n_test + n_train)."""
    test_share, k, n = 0.25, 5, 4000
    rho = test_share / (1 + test_share)
    numbers = rng(1)
    scores = np.sqrt(rho) * numbers.standard_normal((n, 1)) + np.sqrt(1 - rho) * numbers.standard_normal((n, k))

    def coverage(share: float) -> float:
        intervals = [mean_interval(row, share) for row in scores]
        return float(np.mean([(i.low or 0) <= 0 <= (i.high or 0) for i in intervals]))

    assert coverage(test_share) == pytest.approx(0.95, abs=0.012)
    assert coverage(0.0) < 0.90


def test_the_labels_that_may_be_wrong_are_those_of_the_example() -> None:
    """Thresholds: a 0.7 = mean(0.9, 0.9, 0.3), b 0.6 = mean(0.8, 0.9, 0.1)."""
    probabilities = np.array([[0.9, 0.1], [0.9, 0.1], [0.3, 0.7], [0.2, 0.8], [0.1, 0.9], [0.9, 0.1]])
    suspects = find_suspects(np.array([0, 0, 0, 1, 1, 1]), probabilities)
    assert [(s.index, s.suggestion, pytest.approx(s.self_confidence)) for s in suspects] == [(5, 0, 0.1), (2, 1, 0.3)]


@settings(max_examples=60, deadline=None)
@given(seed=st.integers(0, 10_000), n=st.integers(1, 40), k=st.integers(2, 5))
def test_the_labels_that_may_be_wrong_are_those_of_the_paper(seed: int, n: int, k: int) -> None:
    """arXiv:1911.00068, equations 1 and 2, in loops: the off-diagonal of the confident joint, by self-confidence; without images
    whose label is the most probable class."""
    numbers = rng(seed)
    probabilities, labels = numbers.dirichlet(np.ones(k), n), numbers.integers(0, k, n)
    expected = []
    for i in range(n):
        confident = []
        for j in range(k):
            same = [probabilities[m, j] for m in range(n) if labels[m] == j]
            if same and probabilities[i, j] >= np.mean(same):
                confident.append(j)
        if labels[i] == max(range(k), key=lambda j: probabilities[i, j]):
            continue
        if confident and (best := max(confident, key=lambda j: probabilities[i, j])) != labels[i]:
            expected.append((float(probabilities[i, labels[i]]), i, best))
    assert [(s.index, s.suggestion) for s in find_suspects(labels, probabilities)] == [(i, j) for _, i, j in sorted(expected)]


def test_predictions_come_back_from_their_file_and_seeds_are_averaged(tmp_path: object) -> None:
    from pathlib import Path

    classes, images = ("a,b", '"q"'), ("x/1,2.png", "y\n.png", "ü.png")
    first = Predictions(classes, images, np.array([1, 0, 1]), np.array([0, 0, 1]), np.array([[0.25, 0.75], [0.5, 0.5], [1, 0]]))
    file = Path(str(tmp_path)) / "p.csv"
    file.write_text(first.to_csv())
    again = read_predictions(file)
    assert (again.classes, again.images, again.labels.tolist()) == (classes, images, [1, 0, 1])
    assert again.probabilities.tolist() == first.probabilities.tolist()
    second = Predictions(classes, images[::-1], first.labels[::-1], first.folds[::-1], 1 - first.probabilities[::-1])
    joined = join_predictions([first, second])
    assert joined.images == ("y\n.png", "x/1,2.png", "ü.png")
    assert joined.labels.tolist() == [0, 1, 1]
    assert joined.folds.tolist() == [0, 0, 1]
    assert joined.probabilities == pytest.approx(0.5)


@pytest.mark.parametrize("name", ["a\rb.png", "a\nb.png", "a\r\nb.png", 'a"b,c.png', " .png", "a\u2028b.png"])
def test_an_image_of_any_name_comes_back(name: str, tmp_path: Path) -> None:
    file = tmp_path / "p.csv"
    atomic_write(file, Predictions(("x", "y"), (name,), np.array([1]), np.array([0]), np.array([[0.25, 0.75]])).to_csv())
    assert read_predictions(file).images == (name,)


def test_a_spreadsheet_runs_no_cell_of_the_file_for_people() -> None:
    classes, images = ("=a", "b"), ("=x()/1.png", "+2.png", "c/3.png")
    predictions = Predictions(classes, images, np.array([0, 1, 0]), np.zeros(3, int), np.array([[1, 0], [0, 1], [0, 1]]))
    rows = [line.split(",") for line in predictions.to_csv(for_spreadsheets=True).splitlines()]
    assert [row[:3] for row in rows[1:]] == [["./=x()/1.png", "'=a", "'=a"], ["./+2.png", "b", "b"], ["c/3.png", "'=a", "b"]]
    assert not any(cell.startswith(("=", "+", "-", "@")) for row in rows for cell in row)
