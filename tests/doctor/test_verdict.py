"""The verdict on synthetic curves of each regime, on a run in a folder, and on the committed runs."""

import dataclasses
import json
import math
import re
import shlex
from pathlib import Path
from typing import Any

import pytest

from regulo.analysis.doctor.features import (
    NAN,
    Features,
    compute_features,
    label_entropy,
    read_features,
    relative_strength,
    slope,
)
from regulo.analysis.doctor.verdict import REGIMES, SUGGESTIONS, classify, give_verdict, list_evidence, suggest_commands
from regulo.config import compose
from regulo.core.errors import InputError
from regulo.tracking.run_dir import RunFolder
from tests.conftest import FinishedRun, metrics_of

EPOCHS = 20


def rows(
    train: list[float], val: list[float], gap: list[float], train_mode: list[float] | None = None, last_rate: float = 0.0
) -> list[dict[str, str]]:
    """A metrics.csv: one log point and one validation per epoch."""
    table = []
    for e, (t, v, g) in enumerate(zip(train, val, gap, strict=True)):
        lr = 0.2 if e < len(train) - 1 else last_rate
        loss = (train_mode or train)[e]
        table.append({"epoch": str(e), "lr": str(lr), "train/loss": str(loss + 0.5), "train/penalty/l1": "0.5", "val/loss": ""})
        table.append(
            {"epoch": str(e), "train_clean/loss": str(t), "val/loss": str(v), "gap/acc": str(g), "gap/loss": str(v - t)}
            | {"train_clean/acc": "0.9", "train/loss": ""}
        )
    return table


def curve(start: float, end: float, n: int = EPOCHS) -> list[float]:
    return [end + (start - end) * math.exp(-6 * e / n) for e in range(n)]


def compute(*args: Any, result: dict[str, Any] | None = None, overrides: list[str] | None = None, **fields: Any) -> Features:
    config = compose.load_config([f"trainer.max_epochs={EPOCHS}", *(overrides or [])])
    return compute_features(metrics_of(rows(*args, **fields)), {"status": "done"} | (result or {}), config, 10)


FLAT = [0.02] * EPOCHS
RISING = [v + 0.03 * max(0, e - 8) for e, v in enumerate(curve(2.2, 0.3))]
SHORT = curve(2.2, 0.3)[:4]
CASES = {
    "fits": lambda: compute(curve(2.2, 0.2), curve(2.2, 0.3), FLAT, curve(2.2, 0.5)),
    "underfits": lambda: compute(curve(2.3, 1.5), curve(2.3, 1.5), FLAT),
    "overfits": lambda: compute(curve(2.2, 0.001), RISING, [0.01 * min(e, 12) for e in range(EPOCHS)]),
    "over-regularized": lambda: compute(curve(2.3, 0.9), curve(2.3, 0.9), FLAT, curve(2.3, 1.8)),
    "unstable": lambda: compute(curve(2.3, 1.0), curve(2.3, 1.0), FLAT, [2.3, 9.0, *curve(4, 1.0)[2:]]),
    "stopped too early": lambda: compute(SHORT, SHORT, FLAT[:4], last_rate=0.2),
}


@pytest.mark.parametrize("regime", REGIMES)
def test_curves_of_a_regime_are_recognized(regime: str) -> None:
    run = CASES[regime]()
    assert classify(run) == regime
    assert len(list(list_evidence(run, regime))) >= 4
    assert all(re.search(r"\d", sentence) and "nan" not in sentence for sentence in list_evidence(run, regime))


def test_exploded_weights_are_unstable_even_if_the_training_mode_looks_well() -> None:
    run = compute(curve(2.3, 150), curve(2.3, 150), FLAT, curve(2.3, 2.2))
    assert classify(run) == "unstable"
    evidence = list(list_evidence(run, "unstable"))
    assert "times that of guessing: the weights have exploded" in evidence[0]
    (mode,) = (sentence for sentence in evidence if sentence.startswith("in training mode"))
    assert re.search(r"lower by 6\d\d\d% of", mode)


def test_guessing_knows_how_frequent_the_classes_are() -> None:
    assert label_entropy([94, 7], 0) == pytest.approx(0.2518, abs=1e-4)
    assert label_entropy([94, 7], 1) == label_entropy([5, 5], 0) == pytest.approx(math.log(2))
    config = compose.load_config([f"trainer.max_epochs={EPOCHS}"])
    table = rows(curve(0.69, 0.323), curve(0.69, 0.323), FLAT)
    run = compute_features(metrics_of(table), {"status": "done"}, config, 2, [94, 7])
    assert run.unlearned == pytest.approx(0.323 / 0.2518, abs=0.02), "worse than guessing by frequency"
    assert run.spike == pytest.approx(1, abs=0.01), "a new network takes all classes for equally frequent"
    assert classify(run) == "underfits"


def test_features_of_simple_curves() -> None:
    run = compute([2.0, 1.0, 0.5, 0.25], [2.0, 1.0, 1.5, 2.0], [0.0, 0.1, 0.2, 0.3], [3.0, 1.5, 1.0, 0.75], last_rate=0.05)
    assert (run.epochs, run.max_epochs, run.rate_left) == (4, EPOCHS, 0.25)
    assert run.falling == pytest.approx(math.log(2))
    assert run.gap_slope == pytest.approx(10)
    assert run.best == 0.5
    assert run.rise == pytest.approx(0.5)  # the median of the last three, 1.5, over 1
    assert run.spike == pytest.approx(3 / math.log(10))  # without the penalty
    assert run.train_mode_loss == pytest.approx(0.75)
    assert run.burden == pytest.approx((0.75 - 0.5) / math.log(10))
    assert slope([1.0, 3.0, 5.0]) == pytest.approx(2)
    assert math.isnan(run.temperature)


@pytest.mark.parametrize("odd", [0.0, math.inf, -math.inf, math.nan])
def test_numbers_that_no_run_writes_still_give_features(odd: float) -> None:
    for curve_with_odd in ([odd, odd, odd], [math.inf, odd, -math.inf], [1.0, odd, odd]):
        for position in range(4):
            curves = [[1.0, 0.5, 0.2] if i != position else curve_with_odd for i in range(4)]
            assert classify(compute(*curves, last_rate=0.0)) in (*REGIMES, None)


def test_a_loss_that_is_not_finite_is_unstable_and_a_full_disk_is_not() -> None:
    no_epochs: tuple[Any, ...] = ([], [], [])
    assert classify(compute(*no_epochs, result={"status": "failed", "error_type": "NonFiniteLossError"})) == "unstable"
    disk_full = compute(*CURVES_OF_FITS, result={"status": "failed", "error_type": "OSError"})
    assert classify(disk_full) == "fits"


CURVES_OF_FITS: tuple[Any, ...] = (curve(2.2, 0.2), curve(2.2, 0.3), FLAT)


def test_the_relative_strength_is_a_multiple_of_the_default() -> None:
    config = compose.load_config(["regularizer.dropout.fc=0.6", "strength=2"])
    assert relative_strength(config.regularizer["dropout"]) == pytest.approx(3)
    features = compute(*CURVES_OF_FITS, overrides=["regularizer.dropout.fc=0.6", "strength=2"])
    assert features.relative_strength == pytest.approx(6)
    assert "dropout is at 6 times its usual strength" in list_evidence(features, "over-regularized")
    assert relative_strength(config.regularizer["early_stopping"]) == 1


@pytest.mark.parametrize("regime", REGIMES)
@pytest.mark.parametrize(
    "overrides",
    [[], ["regularizer=none"], ["strength=0"], ["model=vit_tiny", "regularizer=[swa,augment]"], ["data.label_noise=1.0"]],
    ids=" ".join,
)
def test_every_suggested_command_is_valid_and_is_another_run(regime: str, overrides: list[str]) -> None:
    config = compose.load_config(overrides)
    for command in suggest_commands(regime, config):
        words = shlex.split(re.fullmatch(r'make train ARGS="(.*)"', command)[1])  # type: ignore[index]
        again = compose.load_config(words)
        assert again != config or (regime == "stopped too early" and "early_stopping" not in config.regularizer)
    assert set(SUGGESTIONS) == set(REGIMES)


def test_a_run_folder_is_judged(finished_run: FinishedRun) -> None:
    folder = finished_run.folder
    verdict = give_verdict(RunFolder.open(folder))
    assert verdict.regime == "underfits", "four steps teach nothing"
    assert verdict.evidence
    assert verdict.next
    assert read_features(RunFolder.open(folder)).classes == 10


def test_a_run_without_a_finished_epoch_is_not_judged_unless_its_loss_was_not_finite(tmp_path: Path) -> None:
    folder = RunFolder.create(str(tmp_path / "run"), "run")
    folder.save_config(compose.load_config([]).as_dict())
    folder.save_json("result.json", {"status": "running"})
    with pytest.raises(InputError, match="finished no epoch"):
        give_verdict(folder)
    folder.save_json("result.json", {"status": "failed", "error": "the training loss is nan", "error_type": "NonFiniteLossError"})
    verdict = give_verdict(folder)
    assert verdict.regime == "unstable"
    assert "not finite" in verdict.evidence[0]
    assert "optim.lr=0.067" in verdict.next[0]


REGIMES_FILE = Path(__file__).parent / "regimes.json"


def test_nine_of_ten_held_out_runs_are_classified_correctly() -> None:
    runs = json.loads(REGIMES_FILE.read_text())["runs"]
    held_out = [r for r in runs if r["part"] == "held out"]
    assert len(held_out) >= 24
    assert {r["regime"] for r in held_out} == set(REGIMES)
    names = {f.name for f in dataclasses.fields(Features)}
    correct = [
        classify(Features(**{k: NAN if v is None else v for k, v in r["features"].items() if k in names})) == r["regime"]
        for r in held_out
    ]
    assert sum(correct) >= 0.9 * len(correct)
