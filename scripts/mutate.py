"""Break the core in small ways, one at a time, and see that a test fails for each: python scripts/mutate.py [word of a row …].

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
    """In `file`, `old` becomes `new`; `tests` (arguments of pytest) are the ones that should notice."""

    what: str
    file: str
    old: str
    new: str
    tests: str


# fmt: off
MUTATIONS = [
    Mutation("a sign: the partner's share of a mixed image", "mixing.py", "alpha=1 - float(lam[0])", "alpha=1 + float(lam[0])", "regularizers/test_formulas.py -k mixup"),
    Mutation("off by one: a batch lacks its last image", "data/pipeline/sampler.py", "(s + 1) * self.step]", "(s + 1) * self.step - 1]", "data/test_pipeline.py -k whole"),
    Mutation("a bound: evaluation leaves its first image out", "data/pipeline/sampler.py", "np.arange(n)[rank::world]", "np.arange(1, n)[rank::world]", "data/test_pipeline.py -k every_image_once"),
    Mutation("missing all-reduce: validation scores", "scores.py", "torch.distributed.all_reduce(tensor)", "pass", "test_scores.py -k ranks"),
    Mutation("missing all-reduce: training loss", "scores.py", "torch.distributed.all_reduce(mean)", "pass", "test_scores.py -k ranks"),
    Mutation("missing all-reduce: an average's BatchNorm statistics", "averaging.py", "torch.distributed.all_reduce(statistic)", "pass", "test_scores.py -k ranks"),
    Mutation("wrong rank in the seed of dropout", "draws.py", "SeedSequence([seed, rank, step])", "SeedSequence([seed, 0, step])", "test_draws.py"),
    Mutation("wrong rank in the seed of techniques", "task.py", "Moment(self.seed, self.global_rank, step", "Moment(self.seed, 0, step", "test_task.py -k ranks"),
    Mutation("missing / T: logits are not scaled", "evaluate.py", 'whole.pop("logits") / temperature', 'whole.pop("logits")', "regularizers/test_evaluation_techniques.py -k fitted_on_validation"),
    Mutation("best instead of last weights", "checkpoints.py", "(BEST if plan.keeps_best else LAST)", "BEST", "regularizers/test_averaging.py -k hands_on_the_mean"),
    Mutation("skipped fsync", "checkpoints.py", "os.fsync(file.fileno())", "pass", "test_checkpoints.py"),
    Mutation("skipped rename", "checkpoints.py", 'part = path.with_suffix(".part")', "part = path", "test_checkpoints.py"),
    Mutation("wrong sign of the gap", "scores.py", 'scores["val/loss"] - scores["train_clean/loss"]', 'scores["train_clean/loss"] - scores["val/loss"]', "test_scores.py -k gaps"),
    Mutation("missing normalization of images", "task.py", "(images - self.mean) / self.std", "images / self.std", "regularizers/test_sample_techniques.py -k normalised"),
    Mutation("penalties are not added", "plan.py", "torch.stack(list(parts.values())).sum()", 'parts["data"]', "regularizers/test_losses.py -k absence"),
    Mutation("a repeated pass of SAM counts as a step", "task.py", "        if not replaying():", "        if True:", "regularizers/test_optimizer_techniques.py -k clean_loss"),
]
# fmt: on


def caught(mutation: Mutation, folder: Path) -> str:
    """The first test that fails under the mutation; empty if none does."""
    for name in ("src", "configs", "tests"):
        shutil.copytree(ROOT / name, folder / name, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(ROOT / "pyproject.toml", folder)
    file = folder / "src" / "regulo" / mutation.file
    text = file.read_text(encoding="utf-8")
    assert text.count(mutation.old) == 1, f"{mutation.file} has {text.count(mutation.old)} of {mutation.old}"
    file.write_text(text.replace(mutation.old, mutation.new), encoding="utf-8")
    command = [sys.executable, "-m", "pytest", "-x", "-p", "no:cacheprovider", "-rf", *f"tests/{mutation.tests}".split()]
    done = subprocess.run(
        command, cwd=folder, env=os.environ | {"PYTHONPATH": "src"}, capture_output=True, text=True, check=False
    )
    assert done.returncode in (0, 1), done.stdout + done.stderr  # 0: all passed, 1: some failed; else the tests could not run
    return found[1] if (found := re.search(r"^FAILED \S+::(\w+)", done.stdout, re.M)) else ""


def main(words: list[str]) -> int:
    """The table, of the mutations that have one of these words."""
    chosen = [m for m in MUTATIONS if not words or any(word in m.what for word in words)]
    print("| mutation | file | test that fails |\n|---|---|---|")
    missed = 0
    for mutation in chosen:
        with tempfile.TemporaryDirectory() as folder:
            test = caught(mutation, Path(folder))
        missed += not test
        print(f"| {mutation.what} | `{mutation.file}` | {f'`{test}`' if test else '**none**'} |", flush=True)
    return int(bool(missed) or not chosen)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
