"""What W&B, TensorBoard and MLflow have of a run: the rows of metrics.csv, each once, and nothing about the machine."""

import csv
import importlib.util
import json
import math
import os
import socket
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from regulo.__main__ import main
from regulo.config import compose
from regulo.core import registry
from regulo.core.errors import InputError
from regulo.tracking.backends import mlflow, tensorboard
from regulo.tracking.backends.base import Backend, RunInfo
from regulo.tracking.csv_logger import CSVLogger
from regulo.tracking.loggers import BACKENDS, LoggerConfig
from regulo.training import build, description
from regulo.training.autotune import AutotuneResult
from tests.conftest import FAST, LOGGED, FinishedRun
from tests.wandb_file import find_file, items, read_records, read_rows

Points = dict[str, list[tuple[int, float]]]
"""(step, value) of each metric, sorted"""


def csv_points(folder: Path) -> Points:
    """The numbers of metrics.csv, read without Regulo."""
    points: Points = {}
    with (folder / "metrics.csv").open(newline="") as file:
        for row in csv.DictReader(file):
            for key in row.keys() - {"step"}:
                if row[key]:
                    points.setdefault(key, []).append((int(row["step"]), float(row[key])))
    return {key: sorted(values) for key, values in points.items()}


def wandb_points(folder: Path) -> Points:
    import wandb

    wandb.teardown()  # its process writes the file in the background
    points: Points = {}
    for row in read_rows(find_file(folder)):
        for key, value in row.items():
            if isinstance(value, int | float) and not key.startswith("_") and key != "trainer/global_step":
                points.setdefault(key, []).append((row["trainer/global_step"], float(value)))
    return {key: sorted(values) for key, values in points.items()}


def open_events(folder: Path) -> Any:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    return EventAccumulator(str(folder / "tensorboard"), size_guidance={"scalars": 0, "images": 0}).Reload()


def tensorboard_points(folder: Path) -> Points:
    events = open_events(folder)
    names = [name for name in events.Tags()["scalars"] if not name.startswith("final/")]
    return {name: sorted((event.step, event.value) for event in events.Scalars(name)) for name in names}


def mlflow_run(folder: Path) -> tuple[Any, Any]:
    """A client of the store beside the run folder, and the run."""
    client = mlflow.make_client((folder.parent / "mlruns").as_uri())
    return client, client.get_run(json.loads((folder / "mlflow.json").read_text())["run_id"])


def mlflow_points(folder: Path) -> Points:
    client, run = mlflow_run(folder)
    names = [name for name in run.data.metrics if name != "row" and not name.startswith("final/")]
    histories = {name: client.get_metric_history(run.info.run_id, name) for name in names}
    return {name: sorted((metric.step, metric.value) for metric in history) for name, history in histories.items()}


READERS: dict[str, Callable[[Path], Points]] = {
    "mlflow": mlflow_points,
    "tensorboard": tensorboard_points,
    "wandb": wandb_points,
}


def assert_equal(points: Points, expected: Points) -> None:
    """TensorBoard stores float32."""
    assert points.keys() == expected.keys()
    for key, values in expected.items():
        assert [step for step, _ in points[key]] == [step for step, _ in values], key
        assert [value for _, value in points[key]] == pytest.approx([value for _, value in values], rel=1e-6), key


def test_every_backend_is_read_by_these_tests() -> None:
    assert registry.list_modules(BACKENDS) == sorted(READERS)


@pytest.mark.parametrize("name", READERS)
def test_a_backend_has_the_rows_of_metrics_csv(name: str, logged_run: FinishedRun) -> None:
    expected = csv_points(logged_run.folder)
    assert {
        "gap/acc",
        "lr",
        "time",
        "strength/confidence_penalty.beta",
        "train/penalty/confidence_penalty",
        "test/ece",
    } <= expected.keys()
    assert_equal(READERS[name](logged_run.folder), expected)


@pytest.fixture(params=READERS)
def backend(request: pytest.FixtureRequest) -> Backend:
    (cls,) = registry.classes_in(f"{BACKENDS}.{request.param}", Backend)
    return cls()


def log(backend: Backend, folder: Path, rows: range, error: type[BaseException] | None = None) -> None:
    """Begin a run, or go on with it, from a checkpoint before `rows`; end it by an error."""
    folder.mkdir(exist_ok=True)
    metrics = CSVLogger(folder / "metrics.csv")
    metrics.truncate(rows.start)
    with backend.open_logger(RunInfo(folder, "title", {"a": {"b": 1}}), metrics) as logger:
        for i in rows:
            row = {"epoch": i, "train/loss": math.sqrt(i)}
            for one in (metrics, logger):
                one.log_metrics(row, 3 * i)
        if error:
            raise error


def test_a_resumed_run_goes_on_in_one_curve(backend: Backend, tmp_path: Path) -> None:
    folder = tmp_path / "run"
    with pytest.raises(KeyboardInterrupt):
        log(backend, folder, range(6), KeyboardInterrupt)
    log(backend, folder, range(4, 9))
    expected = [(3 * i, math.sqrt(i)) for i in range(9)]
    assert_equal(READERS[backend.name](folder), {"epoch": [(3 * i, float(i)) for i in range(9)], "train/loss": expected})


def test_a_backend_that_was_not_there_before_gets_the_rows_before_the_checkpoint(backend: Backend, tmp_path: Path) -> None:
    folder = tmp_path / "run"
    folder.mkdir()
    metrics = CSVLogger(folder / "metrics.csv")
    for i in range(3):
        metrics.log_metrics({"epoch": i}, i)
    log(backend, folder, range(3, 5))
    assert [value for _, value in READERS[backend.name](folder)["epoch"]] == [0, 1, 2, 3, 4]


def test_a_run_goes_on_without_a_backend_that_is_lost(
    backend: Backend, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    metrics = CSVLogger(tmp_path / "metrics.csv")
    with backend.open_logger(RunInfo(tmp_path, "title", {}), metrics) as logger:

        def fail(*_: Any) -> None:
            raise OSError("gone")

        monkeypatch.setattr(logger, "log_row", fail)
        monkeypatch.setattr(logger, "abandon", lambda: None)
        logger.log_metrics({"epoch": 0}, 0)
        logger.log_metrics({"epoch": 0}, 1)
        logger.is_available = True  # so that the context ends it
    stderr = capsys.readouterr().err
    assert stderr.count("the run goes on without it") == 1


# ---- W&B


def test_wandb_shows_what_is_different_and_what_matters(logged_run: FinishedRun) -> None:
    records = list(read_records(find_file(logged_run.folder)))
    (run,) = [record.run for record in records if record.WhichOneof("record_type") == "run"]
    assert not run.host, "the machine's name"
    assert run.display_name.startswith("+confidence_penalty, width=4")
    assert run.display_name.endswith("seed 1")
    assert {"resnet_small", "mixup", "confidence_penalty", "fashion_mnist_mini", "mine"} <= set(run.tags)
    config = items(run.config.update)
    assert config["model"]["width"] == 4
    assert config["regularizer"]["dropout"]["fc"] == 0.2
    assert "confidence_penalty" in config["plan"]
    assert config["folder"] == logged_run.folder.name
    noise = {"run_dir", "logger", "callbacks", "name"}
    assert not noise & config.keys()
    assert not {"root", "num_workers"} & config["data"].keys()


def test_wandb_draws_everything_against_optimizer_steps(logged_run: FinishedRun) -> None:
    records = list(read_records(find_file(logged_run.folder)))
    metrics = [record.metric for record in records if record.WhichOneof("record_type") == "metric"]
    stepped = {metric.name or metric.glob_name: metric.step_metric for metric in metrics}
    assert stepped["*"] == "trainer/global_step"
    assert all({"epoch", "time"} <= row.keys() for row in read_rows(find_file(logged_run.folder)) if "lr" in row)


def test_wandbs_summary_is_the_result(logged_run: FinishedRun) -> None:
    summary: dict[str, Any] = {}
    for record in read_records(find_file(logged_run.folder)):
        if record.WhichOneof("record_type") == "summary":
            summary |= items(record.summary.update)
    assert {key: summary[key] for key in logged_run.result} == logged_run.result


def test_wandb_gets_the_model_and_an_alert_when_asked(logged_run: FinishedRun) -> None:
    records = list(read_records(find_file(logged_run.folder)))
    (artifact,) = [record.artifact for record in records if record.WhichOneof("record_type") == "artifact"] or [
        record.request.log_artifact.artifact for record in records if record.request.WhichOneof("request_type") == "log_artifact"
    ]
    assert artifact.type == "model"
    assert [entry.path for entry in artifact.manifest.contents] == ["best.ckpt"]
    (alert,) = [record.alert for record in records if record.WhichOneof("record_type") == "alert"]
    assert alert.title.endswith("done")
    assert f"{logged_run.result['test/acc']:.4f}" in alert.text


# ---- TensorBoard


def test_tensorboard_has_figures_settings_and_final_scores(logged_run: FinishedRun) -> None:
    events = open_events(logged_run.folder)
    assert {"samples", "confusion", "mistakes"} <= set(events.Tags()["images"])
    assert events.Scalars("final/test/acc")[0].value == pytest.approx(logged_run.result["test/acc"])
    content = events.SummaryMetadata("_hparams_/session_start_info").plugin_data.content
    assert b"regularizer.mixup.alpha" in content


def test_no_file_of_tensorboard_has_a_path_of_the_machine(logged_run: FinishedRun) -> None:
    (file,) = (logged_run.folder / "tensorboard").iterdir()
    assert ".localhost." in file.name
    content = file.name.encode() + file.read_bytes()
    assert str(logged_run.folder).encode() not in content


def test_a_new_file_of_tensorboard_does_not_name_the_machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(socket, "gethostname", lambda: "planted-machine")
    log(tensorboard.TensorBoard(), tmp_path, range(2))
    (file,) = (tmp_path / "tensorboard").iterdir()
    assert b"planted" not in file.name.encode() + file.read_bytes()
    assert socket.gethostname() == "planted-machine", "only TensorBoard is told another name"


# ---- MLflow


def test_mlflow_has_settings_figures_model_and_final_scores(logged_run: FinishedRun) -> None:
    client, run = mlflow_run(logged_run.folder)
    assert run.info.status == "FINISHED"
    assert run.data.params["regularizer.dropout.fc"] == "0.2"
    assert run.data.metrics["final/test/acc"] == logged_run.result["test/acc"]
    assert {file.path for file in client.list_artifacts(run.info.run_id, "figures")} >= {"figures/samples.png"}
    assert [file.path for file in client.list_artifacts(run.info.run_id, "model")] == ["model/best.ckpt"]


def test_mlflow_knows_neither_user_nor_program(logged_run: FinishedRun) -> None:
    _, run = mlflow_run(logged_run.folder)
    assert set(run.data.tags) == {"mlflow.runName", "folder", "tags"}
    assert run.info.user_id == "unknown"
    assert os.environ["MLFLOW_DISABLE_TELEMETRY"] == "true"


def test_an_mlflow_store_that_cannot_be_used_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    for uri, message in (("http://127.0.0.1:9", "does not answer"), ("nonsense://x", "refuses it")):
        monkeypatch.setenv(mlflow.URI, uri)
        with pytest.raises(InputError, match=message):
            LoggerConfig(wandb="disabled", also=["mlflow"]).preflight()


# ---- what is refused, and what does not change


@pytest.mark.parametrize("name", ["tensorboard", "mlflow"])
def test_a_missing_package_is_refused_before_training(
    name: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    find_spec = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda package: None if package == name else find_spec(package))
    assert main(["train", *FAST, f"logger={name}", f"run_dir={tmp_path / 'run'}"]) == 2
    assert f"pip install 'regulo[{name}]'" in capsys.readouterr().err
    assert not (tmp_path / "run").exists()


def test_an_unknown_logger_is_refused_with_the_nearest_name() -> None:
    with pytest.raises(InputError, match=r"logger\.also.*there is no logger 'tensorbord' — did you mean tensorboard"):
        compose.load_config(["logger.also=[tensorbord]"])
    with pytest.raises(InputError, match="there is no logger 'wandb'"):
        compose.load_config(["logger.also=[wandb]"])


def test_the_yaml_files_choose_loggers() -> None:
    for name in ("tensorboard", "mlflow"):
        logger = compose.load_config([f"logger={name}"]).logger
        assert (logger.wandb, logger.also) == ("disabled", [name])
    both = compose.load_config(["logger=wandb", "logger.also=[tensorboard]"]).logger.resolve()
    assert [type(backend).__name__ for backend in both.backends()] == ["Wandb", "TensorBoard"]


@pytest.mark.long
def test_what_is_learned_does_not_depend_on_the_loggers(tmp_path: Path) -> None:
    results = []
    for name, logger in (("plain", ["logger=csv"]), ("logged", LOGGED)):
        assert main(["train", *FAST, "trainer=cpu", *logger, f"run_dir={tmp_path / name}"]) == 0
        result = json.loads((tmp_path / name / "result.json").read_text())
        results.append({key: value for key, value in result.items() if "/" in key})
    assert results[0] == results[1]


# ---- names of runs


@pytest.mark.parametrize(
    ("overrides", "title"),
    [
        ([], "default"),
        (["seed=3"], "seed 3"),
        (["regularizer=none"], "no regularization"),
        (["+regularizer=ema", "~regularizer.mixup", "seed=1"], "+ema -mixup, seed 1"),
        (["model=vit_tiny", "optim.lr=0.001"], "vit_tiny, lr=0.001"),
        (["regularizer.dropout.fc=0.5", "strength=2"], "strength=2.0, dropout.fc=0.5"),
        (["name=mine", "strength=0.5"], "mine: strength=0.5"),
        (["trainer=cpu", "logger=csv", "callbacks=none", "data.num_workers=0", "run_dir=/secret/place"], "default"),
        (["data=image_folder", "data.root=/secret/leaves"], "image_folder"),
    ],
)
def test_the_name_of_a_run_says_what_is_different(overrides: list[str], title: str) -> None:
    assert description.run_title(compose.load_config(overrides)) == title


def test_what_is_measured_on_a_machine_is_no_difference() -> None:
    config = build.apply_autotune(compose.load_config([]), AutotuneResult("bf16-mixed", "channels_last"))
    assert description.run_title(config) == "default"


def test_paths_are_not_shown(tmp_path: Path) -> None:
    overrides = ["data=image_folder", f"data.root={tmp_path}", "model=torchvision", f"model.weights={tmp_path}/w.pth"]
    config = compose.load_config(overrides)
    text = json.dumps(description.describe_config(config)) + description.run_title(config)
    assert str(tmp_path) not in text
    assert "w.pth" in text


def test_a_long_name_is_cut_between_its_parts() -> None:
    overrides = [f"regularizer.dropout.{key}=0.123" for key in ("fc", "conv", "attention")]
    overrides += ["optim.lr=0.0123456", "optim.momentum=0.87654321", "data.batch_size=77", "seed=12", "data.label_noise=0.123"]
    title = description.run_title(compose.load_config(overrides))
    assert len(title) <= description.MAX_PARTS + len(", …, seed 12")
    assert title.endswith(", …, seed 12")
