"""The overhead of the framework: images/s of `regulo train` and of a bare PyTorch loop, in turns, in one process.

    make bench                                  the default run
    make bench ARGS="model=vit_tiny"            any other

Both use the same model, loader, regularizers, optimizer, precision and memory format; the bare loop has no logging, no
metrics and no callbacks. The first epoch of each is a warm-up and is not counted; validation is not counted either.
"""

import contextlib
import csv
import io
import statistics
import sys
import tempfile
import time
from pathlib import Path

import torch

from regulo.config import compose, schema
from regulo.core.precision import autocast
from regulo.core.rng import StepContext
from regulo.core.types import soft_cross_entropy, soft_targets
from regulo.core.warnings import ignore_harmless_warnings
from regulo.training.build import apply_autotune, build_components
from regulo.training.train import autotune, train

PAIRS, EPOCHS = 5, 4


def bare_speed(config: schema.Config) -> float:
    """Images/s of a plain training loop over the epochs after the first."""
    components = build_components(config)
    device = config.trainer.device()
    classifier = components.classifier().to(device).train()
    optimizer = config.optim.build(components.plan.param_groups(classifier.model), fused=True)
    loader = components.data.train_dataloader()
    lr_factors = config.optim.lr_factors(EPOCHS * len(loader))
    step, seconds, images_seen = 0, 0.0, 0
    for epoch in range(EPOCHS):
        loader.batch_sampler.sampler.set_epoch(epoch)  # type: ignore[union-attr]
        start, epoch_images = time.perf_counter(), 0
        for batch in loader:
            images = classifier.normalize(batch.images.to(device, non_blocking=True))
            targets = soft_targets(batch.labels.to(device, non_blocking=True), components.data.dataset_info.num_classes)
            images, targets = components.plan.mix(images, targets, StepContext(0, step=step))
            with autocast(config.trainer.precision, device):
                loss = soft_cross_entropy(classifier.model(images), targets).mean()
            for group in optimizer.param_groups:
                group["lr"] = config.optim.lr * float(lr_factors[step])
            optimizer.zero_grad(set_to_none=True)
            loss.backward()
            if config.optim.grad_clip_norm:
                torch.nn.utils.clip_grad_norm_(classifier.parameters(), config.optim.grad_clip_norm)
            optimizer.step()
            step, epoch_images = step + 1, epoch_images + len(images)
        loss.item()
        if epoch:
            seconds, images_seen = seconds + time.perf_counter() - start, images_seen + epoch_images
    return images_seen / seconds


def framework_speed(overrides: list[str]) -> float:
    """Images/s of `regulo train` over the epochs after the first, from its metrics.csv."""
    with tempfile.TemporaryDirectory() as folder, contextlib.redirect_stdout(io.StringIO()):
        train([*overrides, f"run_dir={folder}/run"])
        rows = list(csv.DictReader(Path(folder, "run", "metrics.csv").read_text().splitlines()))
    speeds = {int(r["epoch"]): float(r["train/images_per_second"]) for r in rows if r.get("train/images_per_second")}
    return statistics.harmonic_mean([speed for epoch, speed in speeds.items() if epoch])


def main() -> None:
    """Run the pairs and print each ratio."""
    ignore_harmless_warnings()
    overrides = [*sys.argv[1:], f"trainer.max_epochs={EPOCHS}", "regularizer.early_stopping.patience=99"]
    config = compose.load_config(overrides)
    components = build_components(config)
    result = autotune(components)
    config = apply_autotune(config, result)
    overrides += [f"trainer.precision={result.precision}", f"trainer.memory_format={result.memory_format}"]
    print(f"{result.precision}, {result.memory_format}, {torch.get_num_threads()} threads, torch {torch.__version__}")
    ratios = []
    for pair in range(PAIRS):
        bare, framework = bare_speed(config), framework_speed(overrides)
        ratios.append(framework / bare)
        speeds = f"bare {bare:7,.0f} images/s   framework {framework:7,.0f} images/s   ratio {ratios[-1]:.3f}"
        print(f"pair {pair + 1}/{PAIRS}: {speeds}", flush=True)
    print(f"ratio: median {statistics.median(ratios):.3f}, min {min(ratios):.3f}, max {max(ratios):.3f} (n = {PAIRS} pairs)")


if __name__ == "__main__":
    main()
