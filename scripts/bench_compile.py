"""Does compilation pay? A training step eager and compiled, what the compiler takes the first and the second time, the choice.

python scripts/bench_compile.py [MODEL …]     # a few minutes; the table of docs/benchmarks.md
"""

import json
import os
import subprocess
import sys
import tempfile
from dataclasses import replace
from typing import Any

LENGTHS = {"2 min": 120.0, "1 h": 3600.0}
"""runs for which the choice is shown, in seconds of eager training steps"""
MODELS = ("resnet_small", "vit_tiny")


def measure(model: str) -> dict[str, Any]:
    """Seconds of a step, eager and compiled, and of the compilation, in this process; the choices of a run."""
    from regulo.config import compose
    from regulo.core.types import soft_targets
    from regulo.models.components.classifier import Classifier
    from regulo.training import autotune, build

    components = build.build_components(compose.load_config([f"model={model}", "trainer=cpu"]))
    batch, info = components.data.example_batch(), components.data.dataset_info
    images = Classifier(components.model, info, "contiguous").normalize(batch.images)
    targets = soft_targets(batch.labels, info.num_classes)
    result = autotune.choose_fastest(components.model, images, targets, "auto", "auto")
    eager = result.eager
    assert eager
    trial = autotune.time_compiled(components.model, images, targets, eager)
    result = replace(result, evidence=(*result.evidence, trial))
    steps = [round(seconds / eager.seconds) for seconds in LENGTHS.values()]
    choices = [autotune.choose_compilation(result, components.model, images, targets, n).compile for n in steps]
    return {"eager": eager.seconds, "compiled": trial.seconds, "cost": trial.compile_seconds, "choices": choices}


def main(models: list[str]) -> None:
    """Measure each model in processes of its own, with an empty cache and again with a full one."""
    from regulo.core.compilation import CACHE_FOLDER_VARIABLE

    print("| model | eager | compiled | ratio | first time | second time |" + "".join(f" run of {name} |" for name in LENGTHS))
    print("|---|---|---|---|---|---|" + "---|" * len(LENGTHS))
    for model in models:
        with tempfile.TemporaryDirectory() as cache:
            environment = os.environ | {CACHE_FOLDER_VARIABLE: cache}
            command = [sys.executable, __file__, "--measure", model]
            first, second = (
                json.loads(
                    subprocess.run(command, env=environment, capture_output=True, text=True, check=True).stdout.splitlines()[-1]
                )
                for _ in range(2)
            )
        ratio = first["eager"] / first["compiled"]
        choices = ["compiled" if choice == "on" else "eager" for choice in first["choices"]]
        steps = " | ".join(f"{1000 * first[key]:.1f} ms" for key in ("eager", "compiled"))
        costs = " | ".join(f"{times['cost']:.0f} s" for times in (first, second))
        print(f"| `{model}` | {steps} | {ratio:.2f} | {costs} | {' | '.join(choices)} |", flush=True)


if __name__ == "__main__":
    if sys.argv[1:2] == ["--measure"]:
        print(json.dumps(measure(sys.argv[2])))
    else:
        main(sys.argv[1:] or list(MODELS))
