"""Compares the techniques for imbalanced classes on the shipped images, and prints a table for docs/howto/imbalance.md:

    .venv/bin/python scripts/imbalance.py runs/imbalance

The training images of the ten classes fall from 500 to 10. Validation and test images stay as they are.
"""

import json
import statistics
import sys
from pathlib import Path

import numpy as np
from PIL import Image

from regulo.__main__ import main as regulo
from regulo.config import compose

LARGEST, SMALLEST, SEEDS = 500, 10, range(3)
RUN = [
    "model.width=8",
    "trainer.max_epochs=12",
    "trainer.precision=32-true",
    "trainer.memory_format=contiguous",
    "data.batch_size=64",
    "data.num_workers=0",
    "regularizer=[augment,weight_decay]",
    "callbacks=none",
    "logger=csv",
]
PLANS = {name: f"+regularizer={name}" for name in ("balanced_sampling", "class_weights", "logit_adjustment")}
SCORES = ("test/balanced_acc", "test/macro_f1", "test/acc", "test/loss")


def save_images(root: Path) -> None:
    """Write the images as a folder, with class k cut to its number of training images."""
    splits = compose.load_config([]).data.splits()
    classes = splits.dataset_info.classes
    counts = np.geomspace(LARGEST, SMALLEST, len(classes)).round().astype(int)
    for name, split in splits.items():
        for k, label in enumerate(classes):
            folder = root / name / label.replace("/", "-")
            folder.mkdir(parents=True)
            indices = np.flatnonzero(split.labels == k)
            for i in indices[: counts[k]] if name == "train" else indices:
                Image.fromarray(split.images[i][..., 0]).save(folder / f"{i}.png")


def main() -> None:
    """Train every plan with every seed, and print the means."""
    target = Path(sys.argv[1])
    root = target / "images"
    if not root.exists():
        save_images(root)
    data = ["data=image_folder", f"data.root={root}", "data.image_size=28", "data.channels=1", "data.verify_images=none"]
    print("| plan | " + " | ".join(SCORES) + " |", "|---" * (len(SCORES) + 1) + "|", sep="\n", file=sys.stderr)
    for plan, override in {"none of them": "", **PLANS}.items():
        results = []
        for seed in SEEDS:
            folder = target / f"{plan.replace(' ', '_')}-{seed}"
            if not (folder / "result.json").exists():
                regulo(["train", *data, *RUN, *[override] * bool(override), f"seed={seed}", f"run_dir={folder}"])
            results.append(json.loads((folder / "result.json").read_text()))
        values = [[result[score] for result in results] for score in SCORES]
        cells = [f"{statistics.mean(v):.3f} ± {statistics.stdev(v):.3f}" for v in values]
        print(f"| {plan} | " + " | ".join(cells) + " |", file=sys.stderr)


if __name__ == "__main__":
    main()
