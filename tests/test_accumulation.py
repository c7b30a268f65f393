"""`optim.accumulate`: several small batches make the step of one large batch."""

import csv
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from regulo.models.components.classifier import Classifier
from regulo.optim.adamw import AdamW
from regulo.optim.sgd import SGD
from regulo.regularizers.components.plan import Plan
from regulo.tracking.checkpoint_io import read_checkpoint
from regulo.training import module as module_file
from regulo.training.module import ClassificationModule
from tests.conftest import GRAY, build_model
from tests.regularizers.flow import technique
from tests.test_module import fit, make_batches

SIZES = {1: [8], 2: [4, 4], 3: [3, 3, 2], 8: [1] * 8, 9: [1] * 8}
PLANS = {
    "sgd, clipping": ([], SGD(lr=0.1, grad_clip_norm=0.5)),
    "penalties that are not means over images": (["l1", "orthogonality", "label_smoothing"], AdamW(lr=0.01)),
    "two passes per step, an average": (["sam", "ema"], SGD(lr=0.1)),
}


def test_a_batch_is_split_into_parts_that_together_are_the_batch() -> None:
    batch = make_batches(1)[0]
    for parts, sizes in SIZES.items():
        split = batch.split(parts)
        assert [len(part.labels) for part in split] == sizes
        assert all(len(part.images) == len(part.labels) == len(part.indices) for part in split)
        assert sorted(i for part in split for i in part.indices.tolist()) == batch.indices.tolist()


def train(names: list[str], optim: Any, accumulate: int) -> tuple[dict[str, Tensor], dict[str, float]]:
    """The weights after 5 steps of 8 images, and what the last log point says."""
    plan = Plan([technique("norm", kind="group", groups=2), *(technique(name) for name in names)])
    model = plan.surgery(build_model("resnet_small", GRAY), GRAY)
    optim = optim.model_copy(update={"accumulate": accumulate, "schedule": "constant", "warmup": 0.0})
    module = ClassificationModule(Classifier(model, GRAY, "contiguous"), [1] * 10, plan, optim, seed=0, log_every=2)
    fit(module, make_batches(5), limit_val_batches=0)
    assert module.global_step == 5
    return module.classifier.state_dict(), {name: float(value) for name, value in module.trainer.callback_metrics.items()}


@pytest.mark.parametrize("plan", PLANS)
def test_small_batches_make_the_step_of_the_large_one_to_rounding(plan: str) -> None:
    large, large_log = train(*PLANS[plan], accumulate=1)
    for accumulate in (2, 3):  # 3: of 3, 3 and 2 images
        weights, log = train(*PLANS[plan], accumulate=accumulate)
        for name in large:
            torch.testing.assert_close(weights[name], large[name], rtol=1e-3, atol=2e-5, msg=lambda m, n=name: f"{n}: {m}")
        keys = [key for key in log if key.startswith("train/") and key != "train/images_per_second"]
        assert keys == [key for key in large_log if key in keys]
        assert [log[key] for key in keys] == pytest.approx([large_log[key] for key in keys], rel=1e-4)


def test_each_batch_of_a_step_draws_for_itself_and_the_same_when_a_step_is_repeated(monkeypatch: pytest.MonkeyPatch) -> None:
    contexts: list[Any] = []
    plain = module_file.compute_loss

    def spy(classifier: Any, plan: Any, batch: Any, num_classes: int, now: Any) -> Any:
        contexts.append((now.step, now.rank, float(torch.rand(1, generator=torch.default_generator.clone_state()))))
        return plain(classifier, plan, batch, num_classes, now)

    monkeypatch.setattr(module_file, "compute_loss", spy)
    train([], SGD(lr=0.1), accumulate=3)
    assert [context[:2] for context in contexts] == [(step, part) for step in range(5) for part in range(3)]
    assert len({draw for _, _, draw in contexts}) == 15, "dropout draws differ"


def test_a_run_sees_the_same_images_in_as_many_steps(run: Any, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["regularizer=[norm]", "regularizer.norm.kind=group", "regularizer.norm.groups=2", "optim.lr=0.05"]
    folders, results = zip(
        run(*words, "data.batch_size=16", "optim.accumulate=4", name="small"),
        run(*words, "data.batch_size=64", name="large"),
        strict=True,
    )
    assert results[0]["steps"] == results[1]["steps"] == 4
    assert "global batch 4 × 16 = 64" in capsys.readouterr().out

    def read(folder: Path) -> tuple[dict[str, Tensor], list[list[float]]]:
        with (folder / "metrics.csv").open(newline="") as lines:
            rows = [
                [float(row[key]) for key in ("train/loss", "train/grad_norm", "lr")] for row in csv.DictReader(lines) if row["lr"]
            ]
        return read_checkpoint(folder / "checkpoints" / "last.ckpt")["state_dict"], rows

    (small, small_rows), (large, large_rows) = (read(folder) for folder in folders)
    for name in large:
        torch.testing.assert_close(small[name], large[name], rtol=1e-3, atol=1e-4, msg=name)
    assert small_rows == [pytest.approx(row, rel=1e-3) for row in large_rows]
