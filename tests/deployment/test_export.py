"""`regulo export`: the file predicts what the run predicts, or there is no file."""

import dataclasses
import importlib.util
import json
import re
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

import regulo
from regulo.__main__ import main
from regulo.core import registry
from regulo.core.types import DatasetInfo
from regulo.evaluation.export import formats
from regulo.evaluation.export.formats import FORMATS
from regulo.evaluation.export.graph import export_graph
from regulo.models.components.classifier import Classifier
from tests.conftest import FinishedRun
from tests.deployment.conftest import CLASSES, PhotoRun

PACKAGES = ("onnx", "onnxscript", "onnxruntime")
FORMAT_PARAMS = [
    pytest.param("pt2"),
    pytest.param("onnx", marks=pytest.mark.skipif(not all(map(importlib.util.find_spec, PACKAGES)), reason="no extra export")),
]


@pytest.fixture(scope="module")
def exports(photo_run: PhotoRun, tmp_path_factory: pytest.TempPathFactory) -> Any:
    """A function that exports the run once in a format; returns the path of the file."""
    root = tmp_path_factory.mktemp("exports")
    files: dict[str, Path] = {}

    def export(format: str) -> Path:
        if format not in files:
            files[format] = root / f"model.{format}"
            words = ["--format", format, "--output", str(files[format])]
            assert main(["export", str(photo_run.folder), *words]) == 0
        return files[format]

    return export


@pytest.mark.parametrize("format", FORMAT_PARAMS)
def test_a_file_predicts_what_the_run_predicts_for_images_of_any_size(format: str, exports: Any, photo_run: PhotoRun) -> None:
    file = exports(format)
    assert sorted(path.name for path in file.parent.glob(f"model.{format}*")) == [
        file.name,
        f"{file.name}.json",
        f"{file.name}.md",
    ]
    predict, run = FORMATS[format].open(file), regulo.load(photo_run.folder)
    assert run.temperature != 1
    rng = np.random.default_rng(0)
    for n, height, width in ((1, 16, 16), (3, 50, 40), (1, 1, 300), (5, 300, 2), (2, 17, 90)):
        images = rng.integers(0, 256, (n, height, width, 3), dtype="uint8")
        probabilities = predict(images)
        assert probabilities.shape == (n, 3)
        assert probabilities.dtype == np.float32
        np.testing.assert_allclose(probabilities, run.predict(images).numpy(), atol=0.02 if min(height, width) < 18 else 1e-3)
    parity = json.loads(file.with_name(f"{file.name}.json").read_text())
    assert (parity["images"], parity["agreement"], parity["bytes"]) == (21, 1.0, file.stat().st_size)
    assert parity["max_difference"] < 1e-3
    assert parity["accuracy"] == parity["run_accuracy"] == json.loads((photo_run.folder / "result.json").read_text())["test/acc"]


@pytest.mark.parametrize("format", FORMAT_PARAMS)
def test_the_code_of_the_model_card_runs_and_the_card_has_the_numbers_of_the_run(
    format: str, exports: Any, photo_run: PhotoRun, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any
) -> None:
    file = exports(format)
    card = file.with_name(f"{file.name}.md").read_text()
    result = json.loads((photo_run.folder / "result.json").read_text())
    assert f"| test | {result['test/acc']:.4f} | {result['test/loss']:.4f} |" in card
    assert "train 48; val 12; test 21" in card
    assert "| weight_decay | param_groups |" in card
    assert re.search(r'```json\n\["=cmd", "a,b", "løv"\]\n```', card)
    shutil.copy(file, tmp_path)
    photo = next((photo_run.data / "test" / "løv").iterdir())
    Image.open(photo).save(tmp_path / "photo.jpg")
    monkeypatch.chdir(tmp_path)
    capsys.readouterr()
    exec(re.search(r"```python\n(.*?)```", card, re.S)[1], {})  # type: ignore[index]
    name, probability = capsys.readouterr().out.rsplit(maxsplit=1)
    expected = regulo.load(photo_run.folder).predict([tmp_path / "photo.jpg"])[0]
    assert (name, float(probability)) == (CLASSES[int(expected.argmax())], pytest.approx(float(expected.max()), abs=1e-3))


def test_a_file_that_disagrees_is_not_written(
    photo_run: PhotoRun, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def open_wrong(self: Any, path: Path) -> Any:
        predict = open_file(self, path)
        return lambda images: predict(images) + 0.002 * np.array([1, -1, 0], "float32")

    open_file = formats.Pt2.open
    monkeypatch.setattr(formats.Pt2, "open", open_wrong)
    assert main(["export", str(photo_run.folder), "--format", "pt2", "--output", str(tmp_path / "x.pt2")]) == 1
    assert "nothing was written: the exported model must agree with the run" in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


def test_a_run_in_the_package_is_exported_into_its_folder_for_images_of_any_size(
    finished_run: FinishedRun, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = Path(shutil.copytree(finished_run.folder, tmp_path / "run"))
    (run / "export").mkdir()
    (run / "export" / "model.pt2").write_text("old")  # only a file that the user has named is never replaced
    assert main(["export", str(run), "--format", "pt2"]) == 0
    assert sorted(file.name for file in (run / "export").iterdir()) == ["model.pt2", "model.pt2.json", "model.pt2.md"]
    predict = FORMATS["pt2"].open(run / "export" / "model.pt2")
    images = np.random.default_rng(0).integers(0, 256, (2, 40, 30, 1), dtype="uint8")
    np.testing.assert_allclose(predict(images), regulo.load(run).predict(images).numpy(), atol=0.01)


def test_random_predictions_cannot_be_exported(run: Any, capsys: pytest.CaptureFixture[str]) -> None:
    plan = ["regularizer=[dropout,mc_dropout]", "regularizer.dropout.fc=0.5", "regularizer.mc_dropout.samples=2"]
    folder, _ = run(*plan, "trainer=cpu")
    capsys.readouterr()
    assert main(["export", str(folder), "--format", "pt2"]) == 2
    what = "RUN: mc_dropout draws random numbers in every prediction, which no other runtime repeats"
    assert what in capsys.readouterr().err


@pytest.mark.parametrize(
    ("words", "text"),
    [
        (["--format", "tflite"], "format: there is no format 'tflite' — valid: onnx, pt2"),
        (["--output", "x.bin"], "--output: x.bin does not end in .pt2"),
        (["--output", "nowhere/x.pt2"], "--output: there is no folder nowhere"),
        (["--output", "old.pt2"], "--output: old.pt2 exists"),
        (["--output", "new.pt2"], "--output: new.pt2.md exists"),
    ],
)
def test_wrong_options_are_refused_before_any_work(
    words: list[str],
    text: str,
    photo_run: PhotoRun,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("old.pt2").write_text("mine")
    Path("new.pt2.md").write_text("mine")
    format = [] if "--format" in words else ["--format", "pt2"]
    assert main(["export", str(photo_run.folder), *format, *words]) == 2
    assert text in capsys.readouterr().err
    assert sorted(file.name for file in tmp_path.iterdir()) == ["new.pt2.md", "old.pt2"]


def test_without_its_packages_onnx_is_refused(
    photo_run: PhotoRun, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(formats.importlib.util, "find_spec", lambda name: None)
    assert main(["export", str(photo_run.folder)]) == 2
    assert "--format: ONNX needs onnx, onnxscript, onnxruntime — pip install 'regulo[export]'" in capsys.readouterr().err


def test_without_its_test_images_a_run_is_not_exported(photo_run: PhotoRun, tmp_path: Path, capsys: Any) -> None:
    run = Path(shutil.copytree(photo_run.folder, tmp_path / "run"))
    config = (run / "config.yaml").read_text()
    (run / "config.yaml").write_text(config.replace(str(photo_run.data), str(tmp_path / "gone")))
    assert main(["export", str(run), "--format", "pt2"]) == 2
    assert "data.root: there is no folder" in capsys.readouterr().err
    assert main(["export", str(run), "--format", "pt2", "--data-root", str(photo_run.data)]) == 0


def test_the_help_names_every_format(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["export", "--help"]) == 0
    assert "onnx (default) or pt2" in capsys.readouterr().out
    assert list(FORMATS) == ["onnx", "pt2"]


INFO = DatasetInfo(3, 40, 40, CLASSES, (0.5,) * 3, (0.25,) * 3)


@pytest.mark.long
@pytest.mark.parametrize("format", FORMAT_PARAMS)
@pytest.mark.parametrize("name", registry.list_plugins("model"))
def test_every_model_can_be_exported(name: str, format: str, photo_run: PhotoRun, tmp_path: Path) -> None:
    torch.manual_seed(0)
    model = registry.get_plugin("model", name)()
    run = regulo.load(photo_run.folder)
    data = run.config.data.model_copy(update={"image_size": INFO.height})
    classifier = Classifier(run.plan.surgery(model.build(INFO), INFO), INFO, "channels_last").eval()
    run = dataclasses.replace(
        run, classifier=classifier, dataset_info=INFO, config=dataclasses.replace(run.config, data=data, model=model)
    )
    FORMATS[format].write(export_graph(run), tmp_path / "x", {})
    images = np.random.default_rng(0).integers(0, 256, (3, 90, 70, 3), dtype="uint8")
    np.testing.assert_allclose(FORMATS[format].open(tmp_path / "x")(images), run.predict(images).numpy(), atol=1e-3)
