"""In which precision and memory format a model runs fastest on this machine, and whether it pays to compile it."""

import dataclasses

from regulo.config.schema import Config
from regulo.core import failures
from regulo.core.types import soft_targets
from regulo.models.components.classifier import Classifier
from regulo.training import autotune, speed_memory
from regulo.training.autotune import AutotuneResult
from regulo.training.build import RunComponents, apply_autotune, build_components


def measure_speed(components: RunComponents) -> AutotuneResult:
    """Choose precision, memory format and compilation by what one real batch takes, now or in an earlier run."""
    trainer, data, device = components.config.trainer, components.data, components.config.trainer.device()
    may_compile = trainer.compile == "auto" and not trainer.why_not_compiled()
    if "auto" not in (trainer.precision, trainer.memory_format) and not may_compile:
        return AutotuneResult(trainer.precision, trainer.memory_format, compile=trainer.fixed_compile())
    batch = data.example_batch()
    images = Classifier(components.model, data.dataset_info, "contiguous").to(device).normalize(batch.images.to(device))
    targets = soft_targets(batch.labels.to(device), data.dataset_info.num_classes).repeat(len(images) // len(batch.labels), 1)
    name = speed_memory.describe_measurement(components.model, images, trainer)
    earlier = speed_memory.recall(name)
    result = earlier or autotune.choose_fastest(components.model, images, targets, trainer.precision, trainer.memory_format)
    if may_compile:
        result = autotune.choose_compilation(result, components.model, images, targets, components.passes)
    if not earlier or len(earlier.evidence) < len(result.evidence):
        speed_memory.remember(name, result)
    return result if may_compile else dataclasses.replace(result, compile=trainer.fixed_compile())


def build_measured(config: Config) -> RunComponents:
    """The components of a run, with the precision and memory format that are fastest on this device. Raises InputError."""
    with failures.as_input_error(config.data.batch_size):
        components = build_components(config.take_input_of_weights()[0])
        return dataclasses.replace(components, config=apply_autotune(components.config, measure_speed(components)))
