import torch
import torch.nn.functional as F

from regulo.scores import Evaluation, Meter, Tally


def answers(n: int = 500, k: int = 4) -> tuple[torch.Tensor, torch.Tensor]:
    g = torch.Generator().manual_seed(0)
    return 2 * torch.randn(n, k, generator=g), torch.randint(k, (n,), generator=g)


def test_a_tally_over_batches_is_the_score_of_the_whole() -> None:
    logits, labels = answers()
    tally = Tally(4, torch.device("cpu"))
    for part in range(0, 500, 64):
        tally.update(logits[part : part + 64], labels[part : part + 64])
    read = tally.read()
    assert abs(read["acc"] - (logits.argmax(1) == labels).double().mean().item()) < 1e-7
    assert abs(read["loss"] - F.cross_entropy(logits, labels).item()) < 1e-5


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
    scores = Evaluation(logits, labels).scores()
    assert abs(scores["brier"] - brier) < 1e-6
    assert abs(scores["ece"] - ece) < 1e-6
    assert abs(scores["loss"] - -p[torch.arange(500), labels].log().mean().item()) < 1e-12


def test_the_confusion_matrix_counts_rows_by_label() -> None:
    logits = F.one_hot(torch.tensor([0, 1, 1, 2]), 3).float()
    matrix = Evaluation(logits, torch.tensor([0, 0, 1, 2])).confusion()
    assert matrix.tolist() == [[1, 1, 0], [0, 1, 0], [0, 0, 1]]


def test_a_meter_is_the_mean_since_the_last_reading() -> None:
    meter = Meter(torch.device("cpu"))
    for loss in (1.0, 3.0):
        meter.update({"data": torch.tensor(loss), "l1": torch.tensor(0.5)}, torch.eye(2), torch.eye(2))
    assert meter.read() == (2.5, 1.0, {"l1": 0.5})
    meter.update({"data": torch.tensor(5.0)}, torch.eye(2), torch.eye(2).flip(0))
    assert meter.read() == (5.0, 0.0, {})
