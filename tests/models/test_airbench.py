"""The network of airbench94: whitening against its definition, first weights, and runs."""

from pathlib import Path

import pytest
import torch
from torch.nn import functional as F

from regulo.__main__ import main
from regulo.evaluation.restore import load_run, open_run_data
from regulo.models.airbench import Airbench, AirbenchNet, whiten
from regulo.tracking.run_dir import RunFolder
from tests.conftest import COLOR, GRAY, images_of


def test_whitened_patches_are_uncorrelated_with_variance_one_along_the_large_components() -> None:
    images = F.avg_pool2d(torch.randn(200, 3, 18, 18, generator=torch.Generator().manual_seed(0)), 3, 1)  # correlated pixels
    responses = F.conv2d(images.double(), whiten(images).double()).transpose(0, 1).flatten(1)
    covariance = torch.cov(responses)
    variances = covariance.diagonal()
    torch.testing.assert_close(covariance - variances.diag(), torch.zeros(12, 12, dtype=torch.float64), atol=1e-5, rtol=0)
    assert variances[0] == pytest.approx(1, abs=0.01)
    assert variances.diff().max() < 1e-9, "the largest component is the first one"
    patches = F.unfold(images.double(), 2).transpose(1, 2).reshape(-1, 12)
    eigenvalues = torch.linalg.eigvalsh(torch.cov(patches.T)).flip(0)
    torch.testing.assert_close(variances, eigenvalues / (eigenvalues + 5e-4), rtol=1e-4, atol=1e-6)


def test_convolutions_begin_as_the_identity_on_their_first_channels() -> None:
    model = Airbench(widths=[16, 8, 8]).build(GRAY)
    assert isinstance(model, AirbenchNet)
    for group in model.blocks:
        for conv in (group.conv1, group.conv2):  # type: ignore[union-attr]
            x = torch.rand(1, conv.in_channels, 5, 5)
            same = min(conv.in_channels, conv.out_channels)
            torch.testing.assert_close(conv(x)[:, :same], x[:, :same])


def test_only_the_bias_of_the_first_layer_and_no_scale_of_a_norm_is_trained() -> None:
    model = Airbench().build(COLOR)
    frozen = {name for name, parameter in model.named_parameters() if not parameter.requires_grad}
    assert frozen == {"whitening.weight"} | {f"blocks.{i}.norm{j}.weight" for i in range(3) for j in (1, 2)}
    assert model(images_of(COLOR).float()).shape == (len(images_of(COLOR)), COLOR.num_classes)


def test_without_whitening_and_identity_all_convolutions_begin_at_random_and_are_trained() -> None:
    model = Airbench(widths=[16, 8, 8], whitening=False, identity=False).build(COLOR)
    assert isinstance(model, AirbenchNet)
    before = model.whitening.weight.detach().clone()
    Airbench(whitening=False).initialize(model, images_of(COLOR).float())
    assert torch.equal(model.whitening.weight, before)
    convolutions = [module for module in model.modules() if isinstance(module, torch.nn.Conv2d)]
    assert len(convolutions) == 7
    for conv in convolutions:
        assert conv.weight.requires_grad
        bound = 1 / (conv.in_channels * conv.kernel_size[0] ** 2) ** 0.5  # torch's own first weights are uniform within it
        assert conv.weight.detach().abs().max() <= bound
        assert float(conv.weight.detach().std()) == pytest.approx(bound / 3**0.5, rel=0.2)


def test_a_run_keeps_the_whitening_of_its_training_images(tmp_path: Path) -> None:
    words = ["debug=fast", "logger=csv", "data.num_workers=0", "callbacks=none", "model=airbench", "model.widths=[4,4,4]"]
    words += ["data.clean_subset=60", "regularizer=[linear_probe,weight_decay,ema]", "regularizer.linear_probe.share=0.5"]
    assert main(["train", *words, f"run_dir={tmp_path / 'run'}"]) == 0
    run = load_run(RunFolder(tmp_path / "run"))
    data = open_run_data(run)
    images = torch.cat([run.classifier.normalize(batch.images) for batch in data.evaluation_loader("train_clean")])
    kernels = whiten(images)
    torch.testing.assert_close(run.classifier.model.whitening.weight, torch.cat([kernels, -kernels]))  # type: ignore[union-attr]
    first = Airbench(widths=[4, 4, 4]).build(GRAY).blocks[0].conv1.weight  # type: ignore[union-attr, index]
    assert not torch.equal(run.classifier.model.blocks[0].conv1.weight, first), "after the probe it is trained"  # type: ignore[union-attr, index]
