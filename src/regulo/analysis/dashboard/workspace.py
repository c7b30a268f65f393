"""`regulo dashboard --online`: the project's saved workspace on W&B, with a section for each question about a run.

Every key that a panel shows is logged by a finished run; a test compares them.
"""

from collections.abc import Iterator
from typing import Any

from regulo.config import compose
from regulo.config.schema import Config
from regulo.core.errors import RunError
from regulo.core.metrics.base import list_metrics
from regulo.tracking.servers import check_wandb_workspaces
from regulo.tracking.wandb_files import STEP

NAME, VIEW = "Regulo", "regulo"
"""title of the workspace, and its name in its address, by which it is found again from any machine"""
CALIBRATION = ("ece", "brier")
FIGURES = ("samples", "confusion", "mistakes")
OUTCOMES = ("gap/acc", "test/acc", "test/loss")
"""the numbers of the summary that the runs table and the parallel coordinates show"""


def save_workspace() -> str:
    """Make the workspace of the project, or update it. Returns its address. Raises InputError, or RunError if W&B refuses it.

    An update replaces the sections, the settings and the columns: changes that were made by hand in the browser are lost.
    """
    check_wandb_workspaces("--online")
    import wandb

    config = compose.load_config([])
    settings = config.logger.resolve()
    try:
        entity = settings.entity or wandb.Api().default_entity
        workspace = build_workspace(config, str(entity), str(settings.project))
        _find_saved(workspace)
        return str(workspace.save().url)
    except (wandb.Error, ValueError, OSError) as error:
        what = f"W&B does not save the workspace of {settings.project}: {error}"
        raise RunError(f"{what}; a project is there once a run is uploaded: make sync") from error


def _find_saved(workspace: Any) -> None:
    """Let a workspace have the id of the saved one of its project, which it then replaces; or a fixed name if there is none."""
    import wandb
    import wandb_workspaces.workspaces as ws

    address = f"{wandb.setup().settings.app_url}/{workspace.entity}/{workspace.project}?nw={VIEW}"
    try:
        saved = ws.Workspace.from_url(address)
    except ValueError:  # there is none
        workspace._internal_name = f"nw-{VIEW}-v"  # the library would draw another name each time
    else:
        workspace._internal_name, workspace._internal_id = saved._internal_name, saved._internal_id


def build_workspace(config: Config, entity: str, project: str) -> Any:
    """The workspace as an object of W&B; nothing is sent before it is saved. config: the default run, for its techniques."""
    import wandb_workspaces.workspaces as ws

    columns = ["config:plan.value", "config:strength.value", *(f"summary:{key}" for key in OUTCOMES), "summary:fit_seconds"]
    return ws.Workspace(
        entity=entity,
        project=project,
        name=NAME,
        sections=list(_build_sections(config)),
        settings=ws.WorkspaceSettings(x_axis=STEP, max_runs=20),
        runset_settings=ws.RunsetSettings(pinned_columns=columns, groupby=_groups()),
    )


def _groups() -> list[Any]:
    """Runs are grouped by study, and by seed."""
    from wandb_workspaces import expr

    return [expr.Metric("Group"), expr.Config("seed")]


def _build_sections(config: Config) -> Iterator[Any]:
    import wandb_workspaces.reports.v2 as wr
    import wandb_workspaces.workspaces as ws

    def lines(title: str, *keys: str, **settings: Any) -> Any:
        return wr.LinePlot(title=title, x=STEP, y=list(keys), **settings)

    def bars(title: str, *keys: str) -> Any:
        return wr.BarPlot(title=title, metrics=[wr.SummaryMetric(key) for key in keys])

    def scatter(title: str, x: str, y: str) -> Any:
        return wr.ScatterPlot(title=title, x=wr.SummaryMetric(x), y=wr.SummaryMetric(y))

    yield ws.Section(
        name="Generalization",
        is_open=True,
        panels=[
            lines("Gap in accuracy: clean train − val", "gap/acc"),
            lines("Gap in loss: val − clean train, nats", "gap/loss"),
            lines("Accuracy: clean train and val", "train_clean/acc", "val/acc"),
            lines("Loss: clean train and val, nats", "train_clean/loss", "val/loss"),
        ],
    )
    yield ws.Section(
        name="Optimization",
        is_open=True,
        panels=[
            lines("Training loss, with penalties", "train/loss"),
            lines("Accuracy on training batches", "train/acc"),
            lines("Learning rate", "lr"),
            lines("Norm of the gradient", "train/grad_norm", log_y=True),
            lines("Images per second", "train/images_per_second"),
            lines("Seconds of training", "time"),
        ],
    )
    yield ws.Section(
        name="Penalties and strengths",
        panels=[
            wr.LinePlot(title="Penalties in the training loss", x=STEP, metric_regex="train/penalty/.*"),
            wr.LinePlot(title="Strengths that change during the run", x=STEP, metric_regex="strength/.*"),
            wr.ParallelCoordinatesPlot(title="Strengths and outcomes", columns=_strength_columns(config)),
        ],
    )
    titles = {metric.name: metric.heading for metric in list_metrics()}
    yield ws.Section(
        name="Calibration",
        panels=[
            *(bars(titles[name], f"val/{name}", f"test/{name}") for name in CALIBRATION),
            scatter("Accuracy and calibration error on test", "test/acc", "test/ece"),
        ],
    )
    yield ws.Section(
        name="What the network saw", panels=[wr.MediaBrowser(title=name, media_keys=[name], num_columns=2) for name in FIGURES]
    )
    yield ws.Section(
        name="Final scores",
        is_open=True,
        panels=[
            *(bars(f"{metric.heading} on test", f"test/{metric.name}") for metric in list_metrics()),
            bars("Gap in accuracy", "gap/acc"),
            bars("Seconds of training", "fit_seconds"),
            scatter("Gap and test accuracy", "gap/acc", "test/acc"),
        ],
    )


def _strength_columns(config: Config) -> list[Any]:
    """Columns for the strength of the run, for those of its techniques, and for the outcomes."""
    import wandb_workspaces.reports.v2 as wr

    keys = [f"regularizer.{r.name}.{field}" for r in config.regularizer.values() for field in r.strength_fields]
    metrics = [wr.Config("strength"), *map(wr.Config, keys), *map(wr.SummaryMetric, OUTCOMES)]
    names = ["strength", *(key.removeprefix("regularizer.") for key in keys), *OUTCOMES]
    return [wr.ParallelCoordinatesPlotColumn(metric=m, display_name=n) for m, n in zip(metrics, names, strict=True)]
