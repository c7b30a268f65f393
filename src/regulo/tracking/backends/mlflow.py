"""MLflow: a local store beside the runs, or the one of MLFLOW_TRACKING_URI."""

import json
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, ClassVar

from lightning.pytorch.loggers import MLFlowLogger

from regulo.core import safe_io
from regulo.core.environment_variables import restore_variables
from regulo.core.errors import InputError, Problem
from regulo.core.files import atomic_write, file_lock
from regulo.core.nested import flatten
from regulo.tracking.backends.base import Backend, RowLogger, RunInfo, closing, numbers
from regulo.tracking.csv_logger import CSVLogger
from regulo.tracking.servers import check_reachable

URI = "MLFLOW_TRACKING_URI"
RUN_FILE = "mlflow.json"
"""file of the run folder that has the id of its MLflow run"""
SETTINGS = {"MLFLOW_DISABLE_TELEMETRY": "true", "MLFLOW_ALLOW_FILE_STORE": "true", "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "2"}
"""no usage statistics; a store of files, the only one that needs no server; short waits for a server that is gone"""


class MLflow(Backend):
    """Logs to the experiment `logger.project` in `mlruns/` beside the run folder, so that all runs are in one store."""

    package = "mlflow"
    extra = "mlflow"

    def preflight(self, mode: str) -> None:
        """Check the package, and the store of MLFLOW_TRACKING_URI if that is set. Raises InputError."""
        super().preflight(mode)
        uri = os.environ.get(URI)
        if not uri:
            return
        hint = f"unset {URI}: without it, MLflow needs no server"
        if uri.startswith(("http://", "https://")):
            check_reachable(uri, "MLflow", URI, hint)
        try:
            make_client(uri).search_experiments(max_results=1)
        except mlflow_error() as error:
            raise InputError(Problem(URI, f"MLflow refuses it: {error}", hint)) from error

    @contextmanager
    def open_logger(self, info: RunInfo, metrics: CSVLogger) -> Iterator["MLflowRowLogger"]:
        """Context with the logger of the MLflow run of a run folder, a new one or the existing one."""
        uri = os.environ.get(URI) or (info.folder.parent / "mlruns").as_uri()
        client = make_client(uri)
        run_id = find_run(client, info.folder / RUN_FILE) or create_run(client, info)
        client.update_run(run_id, "RUNNING")
        logger = MLflowRowLogger(info.project, tracking_uri=uri, run_id=run_id)
        logger.errors = (OSError, mlflow_error())
        with restore_variables(URI):
            _ = logger.experiment  # here Lightning makes its store that of the whole process
        with closing(logger, lambda error: client.set_terminated(run_id, "FAILED" if error else "FINISHED")):
            logger.logged_rows = count_rows(client, run_id)
            logger.replay(metrics, info.folder / "figures")
            yield logger


def make_client(uri: str) -> Any:
    """A client of the store at this address."""
    for name, value in SETTINGS.items():
        os.environ.setdefault(name, value)
    from mlflow import MlflowClient

    return MlflowClient(uri, registry_uri=uri)


def mlflow_error() -> type[Exception]:
    """What MLflow raises for a store that it cannot use, or that does not answer."""
    from mlflow.exceptions import MlflowException

    return MlflowException


def find_run(client: Any, file: Path) -> str | None:
    """The id of the MLflow run of a run folder; None if there is none, or if this store does not have it."""
    try:
        run_id = str(safe_io.read_json(file).get("run_id")) if file.is_file() else ""
        return run_id if run_id and client.get_run(run_id).info.lifecycle_stage == "active" else None
    except (InputError, mlflow_error()):
        return None


def create_run(client: Any, info: RunInfo) -> str:
    """Make the MLflow run of a run folder, with its settings. Returns its id.

    `mlflow.start_run` and Lightning's logger would add user, program, and git commit to the tags.
    """
    from mlflow.entities import Param

    with file_lock(info.folder.parent / ".mlflow.lock"):  # runs of a study start together
        experiment = client.get_experiment_by_name(info.project)
        experiment_id = experiment.experiment_id if experiment else client.create_experiment(info.project)
    tags = {"folder": info.folder.name, "tags": ", ".join(info.tags)} | ({"group": info.group} if info.group else {})
    run_id = str(client.create_run(experiment_id, tags=tags, run_name=info.title).info.run_id)
    params = [Param(key, str(value)[:MAX_VALUE]) for key, value in flatten(info.config).items()]
    for start in range(0, len(params), MAX_PARAMS):
        client.log_batch(run_id, params=params[start : start + MAX_PARAMS])
    atomic_write(info.folder / RUN_FILE, json.dumps({"run_id": run_id}) + "\n")
    return run_id


MAX_VALUE, MAX_PARAMS = 500, 100
"""letters of a parameter's value, and parameters of one call, that every version of MLflow takes"""


def count_rows(client: Any, run_id: str) -> int:
    """The number of rows that the store has."""
    return max((int(metric.value) + 1 for metric in client.get_metric_history(run_id, "row")), default=0)


class MLflowRowLogger(RowLogger, MLFlowLogger):
    """Metrics under the names of metrics.csv, all of which MLflow allows, and the number of the row as `row`."""

    loss_message: ClassVar[str] = "MLflow's store does not answer"

    def log_row(self, metrics: Mapping[str, float], step: int) -> None:
        """Log the values, and last the number of the row: a row without it, which a kill has cut short, is logged again."""
        MLFlowLogger.log_metrics(self, {**metrics, "row": self.rows}, step)

    def log_figure(self, name: str, path: Path) -> None:
        """Log an image file as an artifact."""
        self.experiment.log_artifact(self.run_id, str(path), "figures")

    def log_result(self, result: Mapping[str, Any]) -> None:
        """Log the final scores as `final/…`, beside the curves."""
        MLFlowLogger.log_metrics(self, {f"final/{name}": value for name, value in numbers(result).items()}, self.step)

    def log_model(self, path: Path) -> None:
        """Log the checkpoint as an artifact."""
        self.experiment.log_artifact(self.run_id, str(path), "model")
