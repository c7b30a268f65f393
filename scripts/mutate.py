"""Break the core in small ways, one at a time, and check that a test fails for each: python scripts/mutate.py [word of a row …].

Each mutation is made in a temporary copy of the project. Prints a table; exit code 1 if a mutation is not caught.
"""

import os
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).parents[1]


class Mutation(NamedTuple):
    """In `file`, `old` becomes `new`; `tests` (arguments of pytest) are those that should fail."""

    what: str
    file: str
    old: str
    new: str
    tests: str


# fmt: off
MUTATIONS = [
    Mutation("a sign: the partner's share of a mixed image", "regularizers/components/mixing.py", "alpha=1 - float(lam[0])", "alpha=1 + float(lam[0])", "regularizers/test_formulas.py -k mixup"),
    Mutation("off by one: a batch lacks its last image", "data/components/sampler.py", "(step + 1) * self.images_per_step)", "(step + 1) * self.images_per_step - 1)", "data/test_pipeline.py -k uint8"),
    Mutation("a bound: evaluation leaves its first image out", "data/components/sampler.py", "np.arange(n)[rank::world]", "np.arange(1, n)[rank::world]", "data/test_pipeline.py -k every_image_once"),
    Mutation("missing all-reduce: validation scores", "core/metrics/components/running.py", "sum_over_ranks(self.loss, self.confusion, self.sums)", "pass", "test_metrics.py -k ranks"),
    Mutation("missing all-reduce: training loss", "core/metrics/components/running.py", "mean_over_ranks(means)", "pass", "test_metrics.py -k ranks"),
    Mutation("missing all-reduce: an average's BatchNorm statistics", "regularizers/components/weight_averaging.py", "mean_over_ranks(statistic)", "pass", "test_metrics.py -k ranks"),
    Mutation("wrong rank in the seed of dropout", "core/rng.py", "SeedSequence([seed, rank, step])", "SeedSequence([seed, 0, step])", "test_rng.py"),
    Mutation("wrong rank in the seed of techniques", "training/module.py", "StepContext(self.seed, self.global_rank, step", "StepContext(self.seed, 0, step", "test_module.py -k ranks"),
    Mutation("missing / T: logits are not scaled", "evaluation/inference.py", 'outputs.pop("logits") / temperature', 'outputs.pop("logits")', "regularizers/test_evaluation_techniques.py -k fitted_on_validation"),
    Mutation("best instead of last weights", "tracking/checkpoint_io.py", "(BEST if use_best else LAST)", "BEST", "regularizers/test_averaging.py -k mean"),
    Mutation("skipped fsync", "tracking/checkpoint_io.py", "os.fsync(file.fileno())", "pass", "test_checkpoints.py"),
    Mutation("skipped rename", "tracking/checkpoint_io.py", 'temporary = path.with_suffix(".part")', "temporary = path", "test_checkpoints.py"),
    Mutation("wrong sign of the gap", "core/metrics/components/running.py", 'scores["val/loss"] - scores["train_clean/loss"]', 'scores["train_clean/loss"] - scores["val/loss"]', "test_metrics.py -k gaps"),
    Mutation("missing normalization of images", "models/components/classifier.py", "(images - self.mean) / self.std", "images / self.std", "regularizers/test_sample_techniques.py -k views"),
    Mutation("penalties are not added", "regularizers/components/plan.py", "torch.stack(list(parts.values())).sum()", 'parts["data"]', "regularizers/test_losses.py -k absence"),
    Mutation("a repeated pass of SAM counts as a step", "training/module.py", "        if not is_replay():\n            self.train_metrics", "        if True:\n            self.train_metrics", "regularizers/test_optimizer_techniques.py -k clean_loss"),
]
# fmt: on


def find_failing_test(mutation: Mutation, folder: Path) -> str:
    """The first test that fails under the mutation, in a copy of the project in `folder`; empty if none does."""
    for name in ("src", "configs", "tests"):
        shutil.copytree(ROOT / name, folder / name, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(ROOT / "pyproject.toml", folder)
    file = folder / "src" / "regulo" / mutation.file
    text = file.read_text(encoding="utf-8")
    assert text.count(mutation.old) == 1, f"{mutation.file} has {text.count(mutation.old)} of {mutation.old}"
    file.write_text(text.replace(mutation.old, mutation.new), encoding="utf-8")
    command = [sys.executable, "-m", "pytest", "-x", "-p", "no:cacheprovider", "-rf", *f"tests/{mutation.tests}".split()]
    result = subprocess.run(
        command, cwd=folder, env=os.environ | {"PYTHONPATH": "src"}, capture_output=True, text=True, check=False
    )
    assert result.returncode in (0, 1), result.stdout + result.stderr  # 0: all passed, 1: some failed; else they could not run
    match = re.search(r"^FAILED \S+::(\w+)", result.stdout, re.M)
    return match[1] if match else ""


def main(words: list[str]) -> int:
    """Print the table of the mutations that have one of these words, or of all. Returns the exit code."""
    mutations = [m for m in MUTATIONS if not words or any(word in m.what for word in words)]
    print("| mutation | file | test that fails |\n|---|---|---|")
    num_missed = 0
    for mutation in mutations:
        with tempfile.TemporaryDirectory() as folder:
            test = find_failing_test(mutation, Path(folder))
        num_missed += not test
        print(f"| {mutation.what} | `{mutation.file}` | {f'`{test}`' if test else '**none**'} |", flush=True)
    return int(num_missed > 0 or not mutations)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
