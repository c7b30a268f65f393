"""What the framework costs: images/s of `regulo train` against a bare PyTorch loop, in turn, in one process.

    make bench                                  the default run
    make bench ARGS="model=vit_tiny"            any other

Both use the same model, loader, regularizers, optimizer, precision and memory format; the bare loop has no logging, no
metrics and no callbacks. The first epoch of each warms up and is not counted; validation is counted in neither.
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


def bare(config: schema.Config) -> float:
    """Images/s of a plain training loop over the epochs after the first."""
    parts = build_components(config)
    device = config.trainer.device()
    classifier = parts.classifier().to(device).train()
    optimizer = config.optim.build(parts.plan.param_groups(classifier.model), fused=True)
    loader = parts.data.train_dataloader()
    rates = config.optim.lr_factors(EPOCHS * len(loader))
    step, seconds, images_seen = 0, 0.0, 0
    for epoch in range(EPOCHS):
        loader.batch_sampler.sampler.set_epoch(epoch)  # type: ignore[union-attr]
        start, counted = time.perf_counter(), 0
        for batch in loader:
            images = classifier.normalize(batch.images.to(device, non_blocking=True))
            targets = soft_targets(batch.labels.to(device, non_blocking=True), parts.data.facts.num_classes)
            images, targets = parts.plan.mix(images, targets, StepContext(0, step=step))
            with autocast(config.trainer.precision, device):
                loss = soft_cross_entropy(classifier.model(images), targets).mean()
            for group in optimizer.param_groups:
                group["lr"] = config.optim.lr * float(rates[step])
            optimizer.zero_grad(set_to_none=True)
            loss.backward()
            if config.optim.grad_clip_norm:
                torch.nn.utils.clip_grad_norm_(classifier.parameters(), config.optim.grad_clip_norm)
            optimizer.step()
            step, counted = step + 1, counted + len(images)
        loss.item()
        if epoch:
            seconds, images_seen = seconds + time.perf_counter() - start, images_seen + counted
    return images_seen / seconds


def through_regulo(overrides: list[str]) -> float:
    """Images/s of `regulo train` over the epochs after the first, from its metrics.csv."""
    with tempfile.TemporaryDirectory() as folder, contextlib.redirect_stdout(io.StringIO()):
        train([*overrides, f"run_dir={folder}/run"])
        rows = list(csv.DictReader(Path(folder, "run", "metrics.csv").read_text().splitlines()))
    last = {int(r["epoch"]): float(r["train/images_per_second"]) for r in rows if r.get("train/images_per_second")}
    return statistics.harmonic_mean([rate for epoch, rate in last.items() if epoch])


def main() -> None:
    """Run the pairs and print each ratio."""
    ignore_harmless_warnings()
    overrides = [*sys.argv[1:], f"trainer.max_epochs={EPOCHS}", "regularizer.early_stopping.patience=99"]
    config = compose.load_config(overrides)
    parts = build_components(config)
    choice = autotune(parts)
    config = apply_autotune(config, choice)
    overrides += [f"trainer.precision={choice.precision}", f"trainer.memory_format={choice.memory_format}"]
    print(f"{choice.precision}, {choice.memory_format}, {torch.get_num_threads()} threads, torch {torch.__version__}")
    ratios = []
    for pair in range(PAIRS):
        plain, ours = bare(config), through_regulo(overrides)
        ratios.append(ours / plain)
        speeds = f"bare {plain:7,.0f} images/s   regulo {ours:7,.0f} images/s   ratio {ratios[-1]:.3f}"
        print(f"pair {pair + 1}/{PAIRS}: {speeds}", flush=True)
    print(f"ratio: median {statistics.median(ratios):.3f}, min {min(ratios):.3f}, max {max(ratios):.3f} (n = {PAIRS} pairs)")


if __name__ == "__main__":
    main()
