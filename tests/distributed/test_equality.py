"""R ranks with a batch of B/R do what one rank does with a batch of B."""

import statistics
import sys
from pathlib import Path
from typing import Any

import pytest
import torch

from regulo.tracking import checkpoint_io
from tests.distributed.conftest import execute, script

DRAWS = "vit_tiny, what draws"  # every rank draws for itself
PLANS = {
    DRAWS: ["model=vit_tiny", "model.width=16", "regularizer=[cutmix,mixup,dropout]", "regularizer.dropout.fc=0.2"],
    "vit_tiny, nothing else": ["model=vit_tiny", "model.width=16", "regularizer=none"],
    "vit_tiny, what acts on weights": [
        "model=vit_tiny",
        "model.width=16",
        "regularizer=[augment,label_smoothing,weight_decay,layer_decay,gradient_noise,max_norm,ema,lookahead]",
        "optim.grad_clip_norm=1",
    ],
    "vit_tiny, fsdp": [
        "model=vit_tiny",
        "model.width=16",
        "regularizer=[augment,weight_decay,layer_decay,balanced_sampling]",
        "optim.grad_clip_norm=1",
    ],
    "vit_tiny, fine-tuning": [
        "model=vit_tiny",
        "model.width=16",
        "regularizer=[linear_probe,l2_sp,wise_ft]",
        "regularizer.linear_probe.share=0.35",  # the backbone begins to learn in the fifth of ten steps
        "optim.lr=0.0005",  # Adam's first step has this size, also where a gradient is nothing but rounding
    ],
    "resnet_small, GroupNorm, SAM": [
        "model.width=4",
        "regularizer=[augment,norm,sam,l1,class_weights]",
        "regularizer.norm.kind=group",
        "regularizer.norm.groups=2",
        "optim.lr=0.02",  # at a higher one, each step enlarges rounding
        "data.device=loader",  # the other plans leave the images on the device
    ],
    "vit_tiny, compiled": [
        "model=vit_tiny",
        "model.width=16",
        "model.depth=2",
        "regularizer=[augment,label_smoothing,weight_decay,ema]",
        "trainer.compile=on",
    ],
}
COMMON = ["debug=fast", "data.num_workers=0", "logger=csv", "callbacks=none"]
BATCH, SPLITS = 12, ["data.max_train_images=60", "data.clean_subset=47", "trainer.limit_batches=null", "trainer.max_epochs=2"]


def run_spy(folder: Path, plan: str, ranks: int, accumulate: int = 1) -> dict[str, Any]:
    """What `ranks` ranks did."""
    note, size = folder / f"seen{ranks}.pt", BATCH // ranks // accumulate
    how = [f"trainer={'ddp_cpu' if ranks > 1 else 'cpu'}", f"trainer.devices={ranks}", f"data.batch_size={size}"]
    how.append(f"optim.accumulate={accumulate}")
    if ranks > 1 and "fsdp" in plan:
        how.append("trainer.strategy=fsdp")
    run = ["train", *COMMON, *PLANS[plan], *SPLITS, *how]
    process = execute(script("spy.py", note, *run, f"run_dir={folder / f'run{ranks}'}"))
    assert process.code == 0, process.errors[-3000:]
    return dict(torch.load(note))


def furthest(one: dict[str, Any], other: dict[str, Any]) -> dict[str, float]:
    """The largest relative difference of each kind of quantity; of gradients the median one, as by rounding a ReLU may flip."""

    def apart(kind: str) -> float:
        pairs = [(torch.as_tensor(x), torch.as_tensor(y)) for x, y in zip(one[kind], other[kind], strict=True)]
        differences = [((x - y).norm() / x.norm()).item() for x, y in pairs]
        return statistics.median(differences) if kind == "gradients" else max(differences)

    return {kind: apart(kind) for kind in ("losses", "gradients", "measured", "weights")}


@pytest.mark.long
@pytest.mark.parametrize("plan", [plan for plan in PLANS if plan != DRAWS])
def test_two_and_three_ranks_do_what_one_does(plan: str, tmp_path: Path) -> None:
    alone = run_spy(tmp_path, plan, 1)
    assert len(alone["losses"]) == len(alone["measured"]) * 5 == 10
    for ranks in (2, 3):
        together = run_spy(tmp_path, plan, ranks)
        assert together["images"] == alone["images"], "the same images in the same step"
        apart = furthest(alone, together)
        print(f"| {plan} | {ranks} | " + " | ".join(f"{apart[k]:.1e}" for k in apart) + " |")
        assert apart["losses"] < 1e-5
        assert apart["gradients"] < 1e-4
        assert apart["weights"] < 1e-4, "rounding, which Adam enlarges where gradients are near zero"
        accuracies = [[m[0], m[2]] for m in alone["measured"]]
        assert [[m[0], m[2]] for m in together["measured"]] == accuracies, "of as many images, to the last one"
        assert apart["measured"] < 1e-5


@pytest.mark.long
def test_accumulated_batches_of_two_ranks_are_those_of_one(tmp_path: Path) -> None:
    alone, together = (run_spy(tmp_path, DRAWS, ranks, accumulate) for ranks, accumulate in ((1, 4), (2, 2)))
    assert together["images"] == alone["images"]
    apart = furthest(alone, together)
    assert apart["gradients"] < 1e-4
    assert apart["weights"] < 1e-4


@pytest.mark.long
def test_sharded_ranks_begin_with_the_same_pretrained_weights(tmp_path: Path) -> None:
    from torchvision.models import shufflenet_v2_x0_5

    file, folder = tmp_path / "weights.pt", tmp_path / "run"
    weights = shufflenet_v2_x0_5(weights=None).state_dict()
    torch.save(weights, file)
    model = ["model=torchvision", "model.architecture=shufflenet_v2_x0_5", f"model.weights={file}", "regularizer=none"]
    how = ["optim.lr=1e-12", "trainer=ddp_cpu", "trainer.strategy=fsdp", f"run_dir={folder}"]
    process = execute([sys.executable, "-m", "regulo", "train", *COMMON, *model, *how])
    assert process.code == 0, process.errors[-3000:]
    trained_weights = checkpoint_io.read_checkpoint(folder / "checkpoints" / "last.ckpt")["state_dict"]
    torch.testing.assert_close(trained_weights["classifier.model.conv5.0.weight"], weights["conv5.0.weight"], atol=1e-5, rtol=0)
