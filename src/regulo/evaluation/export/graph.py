"""The graph that is exported: everything that `regulo predict` does between the pixels of a file and the probabilities."""

import torch
from torch import Tensor, nn

from regulo.core.errors import InputError, Problem
from regulo.evaluation.export.resize import Resize
from regulo.evaluation.image_reader import resize_rule
from regulo.evaluation.restore import LoadedRun

INPUT, OUTPUT = "images", "probabilities"


class ExportedClassifier(nn.Module):
    """Images (N, H, W, C) uint8 of any size, all of a batch alike, to probabilities (N, K) float32.

    Resizes, crops, normalizes, predicts as the plan does, and divides the logits by the temperature.
    """

    def __init__(self, run: LoadedRun) -> None:
        super().__init__()
        self.resize = Resize(resize_rule(run.config.data, run.dataset_info))
        self.classifier = run.classifier.to(memory_format=torch.contiguous_format)  # a pt2 file has no other
        self.plan, self.temperature = run.plan, run.temperature

    def forward(self, images: Tensor) -> Tensor:
        """Everything from pixels to probabilities."""
        outputs = self.plan.infer(self.classifier.model, self.classifier.normalize(self.resize(images)))
        return (outputs["logits"].float() / self.temperature).softmax(1)


@torch.no_grad()
def export_graph(run: LoadedRun) -> torch.export.ExportedProgram:
    """The graph of a run whose model is on the CPU; N, H and W are free, from 1. Raises InputError if it cannot be one graph."""
    info = run.dataset_info
    shape = (2, info.height + 1, info.width + 2, info.channels)
    example = torch.randint(256, shape, dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    sizes = {axis: torch.export.Dim(name, min=1) for axis, name in enumerate(("batch", "height", "width"))}
    try:
        program = torch.export.export(ExportedClassifier(run).eval(), (example,), dynamic_shapes={INPUT: sizes})
    except Exception as error:  # of any operator of any model
        reason = next(iter(str(error).strip().splitlines()), type(error).__name__)
        raise InputError(Problem("RUN", f"torch.export cannot make one graph of {run.config.model.name}: {reason}")) from error
    model = program.module()
    if not torch.equal(model(example), model(example)):
        names = ", ".join(technique.name for technique in run.plan.with_hook("infer").regularizers) or "the model"
        what = f"{names} draws random numbers in every prediction, which no other runtime repeats"
        raise InputError(Problem("RUN", what, "export a run that was trained without it"))
    return program
