import torch

from regulo.core.types import soft_cross_entropy, soft_targets


def test_soft_cross_entropy_is_the_formula_in_float64() -> None:
    g = torch.Generator().manual_seed(0)
    logits = torch.randn(7, 5, generator=g, dtype=torch.float64)
    targets = torch.rand(7, 5, generator=g, dtype=torch.float64)
    targets /= targets.sum(1, keepdim=True)
    expected = -(targets * (logits - logits.exp().sum(1, keepdim=True).log())).sum(1).mean()
    torch.testing.assert_close(soft_cross_entropy(logits, targets.float()).mean().double(), expected, rtol=1e-6, atol=0)


def test_soft_targets_of_labels_give_the_plain_loss() -> None:
    logits, labels = torch.randn(6, 4), torch.tensor([0, 1, 2, 3, 0, 1])
    targets = soft_targets(labels, 4)
    assert targets.sum(1).eq(1).all()
    torch.testing.assert_close(soft_cross_entropy(logits, targets).mean(), torch.nn.functional.cross_entropy(logits, labels))
