"""`regulo export`: write the final model of a run as one file, if it predicts what the run predicts."""

import dataclasses
import json
import sys
from collections.abc import Iterable
from pathlib import Path

import numpy as np
import torch

from regulo.core import failures
from regulo.core.console import CONSOLE
from regulo.core.errors import InputError, Problem
from regulo.core.files import atomic_path, atomic_write, new_file_path, report_write_errors
from regulo.evaluation.export.card import model_card
from regulo.evaluation.export.formats import FORMATS, graph_metadata
from regulo.evaluation.export.graph import export_graph
from regulo.evaluation.export.parity import MAX_DIFFERENCE, MIN_AGREEMENT, Parity, compare, latency, predict_all
from regulo.evaluation.image_reader import ImageReader
from regulo.evaluation.restore import LoadedRun, load_run, open_run_data
from regulo.tracking.run_dir import RunFolder
from regulo.tracking.run_names import open_run


class ParityError(Exception):
    """An exported file does not predict what its run predicts."""


def export(run: str, format: str = "onnx", output: str | None = None, data_root: str | None = None) -> int:
    """Write the model of a run, its parity with the run (FILE.json) and a model card (FILE.md). Returns the exit code.

    format: a key of `FORMATS`. output: a new file; None: `export/model.<format>` in the run folder, which is replaced.
    data_root: where the data are, if they have moved. Returns 1, and writes no file, if the parity is not sufficient. Raises
    InputError if the run cannot be exported, or its test images are missing.
    """
    FORMATS[format].check_packages()
    folder = open_run(run)
    path = _output_path(folder, format, output)
    run_model = load_run(folder, data_root)
    try:
        with failures.as_input_error(run_model.config.data.batch_size):
            _write(run_model, format, path)
    except ParityError as error:
        print(f"regulo: nothing was written: {error}", file=sys.stderr)
        return 1
    for file in (path, *_companions(path)):
        CONSOLE.print(str(file), soft_wrap=True)
    return 0


def _write(run: LoadedRun, format: str, path: Path) -> None:
    """Write all files, the model last. Raises ParityError."""
    data = open_run_data(run)
    loader = data.evaluation_loader("test")
    as_run = run.predict_loader(loader)
    images = data.eval_datasets["test"].split.images
    tested = range(len(as_run.labels))  # all of them; a debug run scores only the first ones
    run_latency = _run_latency(run, (images[i] for i in tested))

    exact_run = _in_float32(run)
    is_exact = run.config.trainer.precision == "32-true" and run.device.type == "cpu"
    reference = as_run if is_exact else exact_run.predict_loader(loader)
    program = export_graph(exact_run)
    with report_write_errors(path), atomic_path(path) as part:
        FORMATS[format].write(program, part, graph_metadata(run.classes))
        predict = FORMATS[format].open(part)
        probabilities = predict_all(predict, (images[i] for i in tested))
        parity = Parity(
            images=len(tested),
            precision=run.config.trainer.precision,
            agreement_in_precision=compare(probabilities, as_run)["agreement"],
            latency_ms=latency(lambda image: predict(image[None]), (images[i] for i in tested)),
            run_latency_ms=run_latency,
            bytes=part.stat().st_size,
            **compare(probabilities, reference),
        )
        parity.print()
        if not parity.is_sufficient:
            limits = f"at least {MIN_AGREEMENT:.1%} of the classes, and probabilities up to {MAX_DIFFERENCE:g}"
            raise ParityError(f"the exported model must agree with the run: {limits}")
        report, card = _companions(path)
        atomic_write(report, json.dumps(parity.to_json(), indent=1) + "\n")
        atomic_write(card, model_card(run, format, path.name, parity))


def _run_latency(run: LoadedRun, images: Iterable[np.ndarray]) -> float:
    """Median milliseconds for one image in Regulo, on the device of the run."""
    read = ImageReader(run.config.data, run.dataset_info)

    @torch.inference_mode()
    def predict(image: np.ndarray) -> torch.Tensor:
        return run.predict_probabilities(torch.tensor(read(image)[None])).cpu()

    return latency(predict, images)


def _in_float32(run: LoadedRun) -> LoadedRun:
    """The run as it is exported: in float32, on the CPU."""
    trainer = run.config.trainer.model_copy(update={"precision": "32-true"})
    config = dataclasses.replace(run.config, trainer=trainer)
    return dataclasses.replace(run, config=config, classifier=run.classifier.cpu(), device=torch.device("cpu"))


def _companions(path: Path) -> tuple[Path, Path]:
    """The files beside an exported one: parity and model card."""
    return path.with_name(f"{path.name}.json"), path.with_name(f"{path.name}.md")


def _output_path(folder: RunFolder, format: str, output: str | None) -> Path:
    """Where the file goes. Raises InputError if it cannot be made, or would replace one that the user has named."""
    if output is None:
        path = folder.path / "export" / f"model.{format}"
        try:
            path.parent.mkdir(exist_ok=True)
        except OSError as error:
            raise InputError(Problem("--output", f"cannot make {path.parent}: {error.strerror}", "--output FILE")) from error
        return path
    path = new_file_path(output, "--output")
    if path.suffix != f".{format}":
        raise InputError(Problem("--output", f"{path.name} does not end in .{format}", "choose another name, or --format"))
    for companion in _companions(path):
        new_file_path(str(companion), "--output")
    return path
