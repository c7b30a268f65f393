import math
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from torch import nn
from torchmetrics.functional.classification import multiclass_calibration_error

from regulo.core.metrics.base import EvalOutput, Metric, list_metrics
from regulo.core.metrics.components.running import EvalMetrics, TrainMetrics, generalization_gaps
from regulo.regularizers.components.weight_averaging import update_bn
from tests.over_ranks import over_ranks


def answers(n: int = 500, k: int = 4) -> tuple[torch.Tensor, torch.Tensor]:
    g = torch.Generator().manual_seed(0)
    return 2 * torch.randn(n, k, generator=g), torch.randint(k, (n,), generator=g)


def test_a_tally_over_batches_is_the_score_of_the_whole() -> None:
    logits, labels = answers()
    tally = EvalMetrics(4, torch.device("cpu"))
    for part in range(0, 500, 64):
        tally.update(logits[part : part + 64], labels[part : part + 64])
    scores = tally.compute()
    assert abs(scores["acc"] - (logits.argmax(1) == labels).double().mean().item()) < 1e-7
    assert abs(scores["loss"] - F.cross_entropy(logits, labels).item()) < 1e-5


def test_scores_are_their_formulas_in_float64() -> None:
    logits, labels = answers()
    p = logits.double().softmax(1)
    brier = ((p - F.one_hot(labels, 4)) ** 2).sum(1).mean().item()
    top, right = p.max(1).values, (p.argmax(1) == labels).double()
    ece = 0.0
    for b in range(15):
        inside = (top > b / 15) & (top <= (b + 1) / 15)
        if inside.any():
            ece += inside.double().mean().item() * abs(right[inside].mean().item() - top[inside].mean().item())
    scores = EvalOutput(logits, labels).scores()
    assert abs(scores["brier"] - brier) < 1e-6
    assert abs(scores["ece"] - ece) < 1e-6
    assert abs(scores["loss"] - -p[torch.arange(500), labels].log().mean().item()) < 1e-12


def test_scores_have_the_same_bits_as_in_earlier_versions() -> None:
    """The formulas of version 0.1."""
    logits, labels = answers()
    p = logits.softmax(1)
    scores = EvalOutput(logits, labels, {"entropy": p[:, 0]}).scores()
    assert scores == {
        "acc": (logits.argmax(1) == labels).double().mean().item(),
        "loss": F.cross_entropy(logits.double(), labels).item(),
        "ece": multiclass_calibration_error(p, labels, num_classes=4, n_bins=15).item(),
        "brier": (p.double() - F.one_hot(labels, 4)).square().sum(1).mean().item(),
        "entropy": p[:, 0].double().mean().item(),
    }
    assert list(scores) == ["acc", "loss", "ece", "brier", "entropy"]
    tally = EvalMetrics(4, torch.device("cpu"))
    tally.update(logits, labels)
    right = (logits.argmax(1) == labels).sum()
    loss = F.cross_entropy(logits, labels, reduction="sum")
    assert tally.compute() == {"acc": (right / torch.tensor(500)).item(), "loss": (loss / torch.tensor(500)).item()}


@pytest.mark.parametrize("metric", list_metrics(), ids=lambda metric: metric.name)
def test_a_metric_is_documented_and_a_number(metric: Metric) -> None:
    assert type(metric).__doc__
    assert metric.title
    assert metric.reference, "a metric names its source"
    assert metric.better in ("high", "low")
    assert math.isfinite(metric.compute(EvalOutput(*answers())))
    assert not math.isinf(metric.compute(EvalOutput(torch.eye(3), torch.tensor([0, 1, 1])))), "a class may have no images"


def test_the_confusion_matrix_counts_rows_by_label() -> None:
    logits = F.one_hot(torch.tensor([0, 1, 1, 2]), 3).float()
    matrix = EvalOutput(logits, torch.tensor([0, 0, 1, 2])).confusion_matrix()
    assert matrix.tolist() == [[1, 1, 0], [0, 1, 0], [0, 0, 1]]


def test_a_meter_is_the_mean_since_the_last_reading() -> None:
    meter = TrainMetrics(torch.device("cpu"))
    for loss in (1.0, 3.0):
        meter.update({"data": torch.tensor(loss), "l1": torch.tensor(0.5)}, torch.eye(2), torch.eye(2))
    assert meter.compute() == (2.5, 1.0, {"l1": 0.5})
    meter.update({"data": torch.tensor(5.0)}, torch.eye(2), torch.eye(2).flip(0))
    assert meter.compute() == (5.0, 0.0, {})


def test_both_gaps_are_positive_where_a_network_overfits() -> None:
    scores = {"train_clean/acc": 0.9, "val/acc": 0.7, "train_clean/loss": 0.2, "val/loss": 0.9}
    assert generalization_gaps(scores) == pytest.approx({"gap/acc": 0.2, "gap/loss": 0.7})


def scores_of_a_rank(rank: int) -> tuple[dict[str, float], tuple[float, float, dict[str, float]], list[float]]:
    """Each rank has every second answer; its training loss is its rank; its images have mean 10 · rank."""
    logits, labels = answers()
    tally, meter, norm = EvalMetrics(4, torch.device("cpu")), TrainMetrics(torch.device("cpu")), nn.BatchNorm2d(1)
    tally.update(logits[rank::2], labels[rank::2])
    meter.update({"data": torch.tensor(float(rank)), "l1": torch.tensor(3.0 * rank)}, torch.eye(2), torch.eye(2).roll(rank, 0))
    update_bn(norm, [torch.full((2, 1, 3, 3), 10.0 * rank)])
    return tally.compute(), meter.compute(), norm.running_mean.tolist()  # type: ignore[union-attr]


def test_what_ranks_measure_is_added_up_over_all_of_them(tmp_path: Path) -> None:
    logits, labels = answers()
    one, two = over_ranks(scores_of_a_rank, tmp_path)
    assert one == two, "all ranks read the same"
    tally, (loss, acc, penalties), mean = one
    assert tally["acc"] == pytest.approx((logits.argmax(1) == labels).double().mean().item())
    assert tally["loss"] == pytest.approx(F.cross_entropy(logits, labels).item(), rel=1e-5)
    assert (loss, acc, penalties) == (2.0, 0.5, {"l1": 1.5})
    assert mean == [5.0]
