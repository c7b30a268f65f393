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
    } | {name: scores[name] for name in ("balanced_acc", "macro_f1", "auroc")}
    assert list(scores) == ["acc", "loss", "ece", "brier", "balanced_acc", "macro_f1", "auroc", "entropy"]
    tally = EvalMetrics(4, torch.device("cpu"))
    tally.update(logits, labels)
    right = (logits.argmax(1) == labels).sum()
    loss = F.cross_entropy(logits, labels, reduction="sum")
    sums = tally.compute()
    assert sums["acc"] == (right / torch.tensor(500)).item()
    assert sums["loss"] == (loss / torch.tensor(500)).item()


@pytest.mark.parametrize("metric", list_metrics(), ids=lambda metric: metric.name)
def test_a_metric_is_documented_and_a_number(metric: Metric) -> None:
    assert type(metric).__doc__
    assert metric.title
    assert metric.reference, "a metric names its source"
    assert metric.better in ("high", "low")
    assert math.isfinite(metric.compute(EvalOutput(*answers(k=8))))
    assert not math.isinf(metric.compute(EvalOutput(torch.eye(8)[:3], torch.tensor([0, 1, 1])))), "a class may have no images"


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


# ---- scores by class, and means over classes


LABELS = [0, 0, 0, 0, 1, 1, 2, 2, 2, 4]
PREDICTIONS = [0, 0, 0, 1, 1, 3, 2, 0, 2, 2]
"""class 3 has no image and is predicted once; class 4 has one image and is never predicted"""


def by_hand() -> dict[str, float]:
    """Counted image by image, without a confusion matrix."""
    recalls, f1s = [], []
    for k in sorted(set(LABELS)):
        hits = sum(label == prediction == k for label, prediction in zip(LABELS, PREDICTIONS, strict=True))
        recalls.append(hits / LABELS.count(k))
        precision = hits / PREDICTIONS.count(k) if k in PREDICTIONS else 0.0
        f1s.append(2 * precision * recalls[-1] / (precision + recalls[-1]) if hits else 0.0)
    return {"balanced_acc": sum(recalls) / len(recalls), "macro_f1": sum(f1s) / len(f1s)}


def test_means_over_classes_leave_out_those_without_images_and_keep_those_never_predicted() -> None:
    output = EvalOutput(F.one_hot(torch.tensor(PREDICTIONS), 5).float(), torch.tensor(LABELS))
    scores, expected = output.scores(), by_hand()
    tally = EvalMetrics(5, torch.device("cpu"))
    tally.update(output.logits, output.labels)
    for name, value in expected.items():
        assert scores[name] == pytest.approx(value, rel=1e-12)
        assert tally.compute()[name] == pytest.approx(value, rel=1e-6)


def test_scores_are_torchmetrics_where_every_class_has_images() -> None:
    from torchmetrics.functional.classification import multiclass_accuracy, multiclass_auroc, multiclass_f1_score

    logits, labels = answers(k=8)
    scores = EvalOutput(logits, labels).scores()
    assert scores["balanced_acc"] == pytest.approx(multiclass_accuracy(logits, labels, 8, average="macro").item(), rel=1e-6)
    assert scores["macro_f1"] == pytest.approx(multiclass_f1_score(logits, labels, 8, average="macro").item(), rel=1e-6)
    assert scores["auroc"] == pytest.approx(multiclass_auroc(logits, labels, 8).item(), rel=1e-6)
    top5 = multiclass_accuracy(logits, labels, 8, average="micro", top_k=5).item()
    assert scores["top5_acc"] == pytest.approx(top5, rel=1e-6)
    tally = EvalMetrics(8, torch.device("cpu"))
    for part in range(0, 500, 64):
        tally.update(logits[part : part + 64], labels[part : part + 64])
    assert tally.compute()["top5_acc"] == pytest.approx(top5, rel=1e-6)


def test_auroc_is_the_share_of_pairs_in_the_right_order_over_the_classes_that_have_images() -> None:
    logits, labels = answers(n=60, k=5)
    labels = labels.clamp(max=3)  # no image of class 4
    logits[:9] = logits[0]  # ties count half
    p, areas = logits.double().softmax(1), []
    for k in range(4):
        pairs = [(p[i, k], p[j, k]) for i in range(60) for j in range(60) if labels[i] == k != labels[j]]
        areas.append(sum(float(a > b) + 0.5 * float(a == b) for a, b in pairs) / len(pairs))
    assert EvalOutput(logits, labels).scores()["auroc"] == pytest.approx(sum(areas) / 4, rel=1e-6)
    assert "auroc" not in EvalOutput(logits, torch.zeros(60, dtype=torch.int64)).scores(), "not defined for one class"


def test_top_5_is_scored_only_where_it_can_be_wrong() -> None:
    assert "top5_acc" not in EvalOutput(*answers(k=5)).scores()
    tally = EvalMetrics(5, torch.device("cpu"))
    tally.update(*answers(k=5))
    assert "top5_acc" not in tally.compute()
    assert set(tally.compute()) == {m.name for m in list_metrics(5) if m.in_validation}, "what `monitor` can be"


def test_classes_csv_has_the_scores_of_each_class_and_gaps_where_they_are_not_defined(tmp_path: Path) -> None:
    from regulo.tracking.class_scores import read_class_scores, write_class_scores
    from regulo.tracking.run_dir import RunFolder

    matrix = EvalOutput(F.one_hot(torch.tensor(PREDICTIONS), 5).float(), torch.tensor(LABELS)).confusion_matrix()
    folder, classes = RunFolder(tmp_path), ("ant", "b,c", 'd"e', "=1+1", "f")
    assert read_class_scores(folder) == []
    write_class_scores(folder, {"val": matrix, "test": matrix.T}, classes)
    rows = read_class_scores(folder)
    assert [(row["split"], row["class"]) for row in rows] == [(split, name) for split in ("val", "test") for name in classes]
    assert rows[0] == {"split": "val", "class": "ant", "precision": 0.75, "recall": 0.75, "f1": 0.75, "support": 4}
    assert rows[3] == {"split": "val", "class": "=1+1", "precision": 0.0, "recall": "", "f1": "", "support": 0}
    assert rows[4] == {"split": "val", "class": "f", "precision": "", "recall": 0.0, "f1": 0.0, "support": 1}


@pytest.mark.parametrize(
    "row", ["val,a,2,0,0,1", "val,a,nan,0,0,1", "train,a,0,0,0,1", "val,a,0,0,0,-1", "val,a,0,0", "val,a,0,0,0,1,9"]
)
def test_a_classes_csv_that_is_not_ours_is_refused(row: str, tmp_path: Path) -> None:
    from regulo.core.errors import InputError
    from regulo.tracking.class_scores import read_class_scores
    from regulo.tracking.run_dir import RunFolder

    (tmp_path / "classes.csv").write_text(f"split,class,precision,recall,f1,support\n{row}\n")
    with pytest.raises(InputError, match=r"classes\.csv is not what Regulo writes"):
        read_class_scores(RunFolder(tmp_path))
