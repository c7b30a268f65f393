"""The kinds of files that a graph is exported to."""

import importlib.util
import io
import json
import warnings
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import torch

from regulo.core.errors import InputError, Problem
from regulo.evaluation.export.graph import INPUT, OUTPUT

Predict = Callable[[np.ndarray], np.ndarray]
"""images (N, H, W, C) uint8 to probabilities (N, K) float32"""


class Format:
    """A kind of file."""

    title: ClassVar[str]
    packages: ClassVar[tuple[str, ...]] = ()
    """what writing and checking it needs, of the extra `export`"""
    usage: ClassVar[str]
    """Python that predicts one image: `{file}` is the name of the file, `{pixels}` the array of the image"""

    def check_packages(self) -> None:
        """Raise InputError if a package is missing."""
        if missing := [name for name in self.packages if importlib.util.find_spec(name) is None]:
            what = f"{self.title} needs {', '.join(missing)}"
            raise InputError(Problem("--format", what, "pip install 'regulo[export]'"))

    def write(self, program: torch.export.ExportedProgram, path: Path, metadata: Mapping[str, str]) -> None:
        """Write a graph and texts about it into one file."""
        raise NotImplementedError

    def open(self, path: Path) -> Predict:
        """The graph of a file, run by the runtime that others will use."""
        raise NotImplementedError


class Onnx(Format):
    """ONNX, for onnxruntime and many other runtimes."""

    title = "ONNX"
    packages = ("onnx", "onnxscript", "onnxruntime")
    usage = """\
import json, numpy, onnxruntime
from PIL import Image
session = onnxruntime.InferenceSession("{file}")
probabilities = session.run(None, {{"images": {pixels}}})[0][0]
print(json.loads(session.get_modelmeta().custom_metadata_map["classes"])[probabilities.argmax()], probabilities.max())"""

    def write(self, program: torch.export.ExportedProgram, path: Path, metadata: Mapping[str, str]) -> None:
        """One file, with its weights; the texts are its metadata."""
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of torch's exporter about itself
            onnx_program: Any = torch.onnx.export(
                program, input_names=[INPUT], output_names=[OUTPUT], dynamo=True, external_data=False, verbose=False
            )
        onnx_program.model.metadata_props.update(metadata)
        onnx_program.save(path)

    def open(self, path: Path) -> Predict:
        """By onnxruntime, on the CPU."""
        import onnxruntime

        session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
        return lambda images: session.run(None, {INPUT: images})[0]


class Pt2(Format):
    """An exported program of PyTorch, which needs no code of the model."""

    title = "PyTorch's pt2"
    usage = """\
import json, numpy, torch
from PIL import Image
program = torch.export.load("{file}", extra_files=(texts := {{"classes": ""}})).module()
probabilities = program(torch.from_numpy({pixels}))[0].detach().numpy()
print(json.loads(texts["classes"])[probabilities.argmax()], probabilities.max())"""

    def write(self, program: torch.export.ExportedProgram, path: Path, metadata: Mapping[str, str]) -> None:
        """One file; the texts are its extra files."""
        content = io.BytesIO()  # a path must end in .pt2
        torch.export.save(program, content, extra_files=dict(metadata))
        path.write_bytes(content.getvalue())

    def open(self, path: Path) -> Predict:
        """By torch, on the CPU."""
        model = torch.export.load(io.BytesIO(path.read_bytes())).module()

        @torch.no_grad()
        def predict(images: np.ndarray) -> np.ndarray:
            return model(torch.tensor(images)).numpy()  # a copy: torch warns of arrays that are read-only

        return predict


FORMATS: dict[str, Format] = {"onnx": Onnx(), "pt2": Pt2()}
"""by the ending of the file"""


def graph_metadata(classes: tuple[str, ...]) -> dict[str, str]:
    """The texts in the file: the names of the classes, as a JSON list."""
    return {"classes": json.dumps(classes)}
