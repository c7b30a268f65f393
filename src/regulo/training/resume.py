"""`regulo train --resume RUN [key=value …]`: which run goes on, from which checkpoint, and what may be different from now on."""

import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from regulo.config import compose, validate
from regulo.config.overrides import format_value
from regulo.config.schema import Config
from regulo.core.arguments import split_option
from regulo.core.errors import InputError, NonFiniteLossError, Problem, one_line
from regulo.core.input_spec import InputSpec
from regulo.core.nested import flatten
from regulo.core.paths import expand_path
from regulo.distributed.environment import process_environment, restart_count
from regulo.tracking import records
from regulo.tracking.environment import describe_environment
from regulo.tracking.run_dir import BEST, LAST, RunFolder

if TYPE_CHECKING:
    from regulo.data.components.datamodule import ImageDataModule

OVERRIDABLE_ON_RESUME = (
    "logger",
    "callbacks",
    "data.root",
    "data.num_workers",
    *(f"trainer.{key}" for key in ("max_time", "save_every_n_steps", "save_every_minutes", "hang_timeout", "max_restarts")),
)
"""keys, and groups of keys, on which nothing depends that is learned"""
AUTOTUNE_KEYS = ("trainer.precision", "trainer.memory_format", "trainer.compile", "data.device")
"""what may have been asked for as auto; it depends on the machine, or on the plan"""
INPUT_KEYS = tuple(f"data.{key}" for key in InputSpec.model_fields)
"""what may have been null, and taken from the weights when the run began"""


@dataclass(frozen=True)
class ResumableRun:
    """A run that can go on."""

    folder: RunFolder
    config: Config
    changes: tuple[str, ...]
    """what is different from now on, for people"""
    checkpoint: Path | None
    """None: it was interrupted before it wrote one"""
    state: Mapping[str, Any]
    """what is in the checkpoint"""
    file_id: tuple[int, int] | None
    """of last.ckpt when it was read: each save makes another file"""

    def config_without_input_checks(self) -> Config:
        """The config to build from: the weights come from the checkpoint, if there is one."""
        from regulo.evaluation.restore import without_input_checks

        return without_input_checks(self.config) if self.checkpoint else self.config

    def claim(self) -> None:
        """Once the folder is locked: check that it is as it was read, and whole. Raises InputError."""
        from regulo.tracking import checkpoint_io

        best, last = (self.folder.checkpoints / name for name in (BEST, LAST))
        if self.file_id != checkpoint_io.file_id(last):
            raise InputError(Problem("RUN", f"{self.folder.path} went on meanwhile", "try again"))
        if self.checkpoint and records.read_resume_record(self.state, str(self.checkpoint)).place[0]:
            try:
                checkpoint_io.read_checkpoint(best)
            except (OSError, InputError) as error:
                what = f"{best}, which an earlier epoch has left, is missing or torn"
                raise InputError(Problem("RUN", what, "copy it back, or begin a new run")) from error
        if self.checkpoint and self.checkpoint != last:
            last.unlink(missing_ok=True)  # it is torn, and would take the place of the good one before it

    def resume_point(self, data: "ImageDataModule") -> "ResumePoint":
        """Let the data begin where the checkpoint was written. Raises InputError if they are others now."""
        if not self.checkpoint:
            return ResumePoint(None, 0, 0, 0, self.changes)
        position = records.read_resume_record(self.state, str(self.checkpoint))
        if (
            position.images != data.split_sizes()
            or records.read_dataset_info(self.state, str(self.checkpoint)).classes != data.dataset_info.classes
        ):
            raise InputError(Problem("data", f"{self.folder.path} was trained on other images", "go on with the same ones"))
        data.start_position = position.place
        return ResumePoint(self.checkpoint, position.global_step, position.place[0], position.rows, self.changes)


@dataclass(frozen=True)
class ResumePoint:
    """Where training goes on."""

    checkpoint: Path | None
    step: int
    """steps that are done"""
    epoch: int
    """epochs that are done"""
    rows: int
    """of metrics.csv that lie before it"""
    changes: tuple[str, ...]

    def __str__(self) -> str:
        where = (
            f"from {self.checkpoint.name} at step {self.step:,}, in epoch {self.epoch + 1}" if self.checkpoint else "from nothing"
        )
        return "\n".join([f"going on {where}", *(f"changed: {change}" for change in self.changes)])


def take_same_data(arguments: Sequence[str]) -> tuple[list[str], RunFolder | None]:
    """The arguments without `--same-data RUN`, and that run's folder. Raises InputError if it has no data.json."""
    words = split_option(arguments, "--same-data")
    if "--same-data" not in words:
        return words, None
    index = words.index("--same-data")
    if not words[index + 1 : index + 2]:
        raise InputError(Problem("--same-data", "needs the folder of a run", "regulo train --same-data runs/…"))
    folder = RunFolder(expand_path(words[index + 1]))
    if not (folder.path / "data.json").is_file():
        raise InputError(Problem("--same-data", f"{folder.path} has no data.json", "name the folder of a run"))
    return [*words[:index], *words[index + 2 :]], folder


def parse_resume(arguments: Sequence[str], restart_folder: Path | None = None) -> ResumableRun | None:
    """The run that these arguments say should go on; None if they describe a new one. Raises InputError.

    `--resume RUN` says so; or a cluster that starts the job of `run_dir=RUN` again with the same arguments; or a launcher that
    has started the processes of the run in `restart_folder` again.
    """
    if "--resume" in arguments:
        return _parse_explicit(arguments)
    if not (restart_folder or restart_count()):
        return None
    config = compose.load_config(arguments)
    folder = restart_folder or (expand_path(config.run.run_dir) if config.run.run_dir else None)
    if not folder or not (folder / "config.yaml").is_file():
        return None
    run = RunFolder.open(folder)
    _check_restart(run)
    return _resumable_run(run, run.read_config(), config.as_dict())


def _parse_explicit(arguments: Sequence[str]) -> ResumableRun:
    """`--resume RUN` with overrides around it."""
    index = list(arguments).index("--resume")
    value = arguments[index + 1 : index + 2]
    if not value or ("=" in value[0] and not expand_path(value[0]).is_dir()):
        raise InputError(Problem("--resume", "needs the folder of a run", "regulo train --resume runs/…"))
    folder = RunFolder.open(value[0])
    saved_config = folder.read_config()
    tree = compose.override_config(saved_config, [*arguments[:index], *arguments[index + 2 :]])
    if tree.get("run_dir") != saved_config.get("run_dir"):
        raise InputError(Problem("run_dir", f"{folder.path} goes on where it is", "leave run_dir out, or move the folder"))
    return _resumable_run(folder, saved_config, tree)


def _resumable_run(folder: RunFolder, saved_config: Mapping[str, Any], tree: Mapping[str, Any]) -> ResumableRun:
    """The run of a folder, whose configuration was `saved_config` and is to be `tree` from now on. Raises InputError."""
    from regulo.tracking import checkpoint_io

    if records.read_or_empty(records.read_result, folder, announce=True).get("status") == "done":
        hint = f"regulo evaluate {shlex.quote(str(folder.path))} scores it again"
        raise InputError(Problem("RUN", f"{folder.path} is done: there is nothing to go on with", hint))
    file_id = checkpoint_io.file_id(folder.checkpoints / LAST)
    checkpoint, state = checkpoint_io.latest_checkpoint(folder) or (None, {})
    before, after = flatten(saved_config), flatten(tree)
    checkpoint_config = flatten(records.check_weights(dict(state), str(checkpoint))["regulo"]["config"]) if checkpoint else before
    problems = [
        *_edit_problems(before, checkpoint_config, checkpoint),
        *_sharding_problems(before),
        *_forbidden_changes(before, after),
    ]
    if problems:
        raise InputError(*problems)
    changes = (*_allowed_changes(before, after), *_changed_environment(folder))
    choices = {key: before[key] for key in (*AUTOTUNE_KEYS, *INPUT_KEYS) if key in before}
    new_tree = {**tree, "run_dir": saved_config.get("run_dir")}
    for group in ("trainer", "data"):
        if isinstance(new_tree.get(group), Mapping):  # anything else is refused by the check that follows
            values = {key.removeprefix(f"{group}."): value for key, value in choices.items() if key.startswith(f"{group}.")}
            new_tree[group] = {**new_tree[group], **values}
    return ResumableRun(folder, validate.validate_run_config(folder, new_tree), changes, checkpoint, state, file_id)


# ---- what may be different, and what may not


def _edit_problems(before: Mapping[str, Any], checkpoint_config: Mapping[str, Any], checkpoint: Path | None) -> list[Problem]:
    """Where config.yaml is not what the checkpoint was trained with."""
    keys = [k for k in sorted(checkpoint_config.keys() | before.keys()) if checkpoint_config.get(k) != before.get(k)]
    return [
        Problem(
            key,
            f"config.yaml has {before.get(key)!r}, and {checkpoint} was trained with {checkpoint_config.get(key)!r}",
            "put it back",
        )
        for key in keys
        if not is_overridable(key) and key != "run_dir"
    ]


def _sharding_problems(before: Mapping[str, Any]) -> list[Problem]:
    """Lightning reads a sharded run's checkpoint past our checks."""
    if before.get("trainer.strategy") != "fsdp":
        return []
    return [Problem("trainer.strategy", "a sharded run cannot go on yet", "regulo evaluate scores what it kept")]


def _forbidden_changes(before: Mapping[str, Any], after: Mapping[str, Any]) -> list[Problem]:
    """Changed keys on which depends what is learned."""
    return [
        Problem(
            key,
            f"this run has {before.get(key)!r}, and what it learns depends on it",
            f"go on without the change, or begin a new run with {shlex.quote(f'{key}={format_value(after.get(key))}')}",
        )
        for key in _changed_keys(before, after)
        if not is_overridable(key)
    ]


def _allowed_changes(before: Mapping[str, Any], after: Mapping[str, Any]) -> list[str]:
    """The other changed keys, for people."""
    keys = [key for key in _changed_keys(before, after) if is_overridable(key)]
    return [f"{key}: {after.get(key)!r} instead of {before.get(key)!r}" for key in keys]


def _changed_environment(folder: RunFolder) -> list[str]:
    """Other versions and hardware than when the run began, for people."""
    now, then = describe_environment(), records.read_or_empty(records.read_environment, folder, announce=True)
    old_values = {key: old for key, old in then.items() if now.get(key, old) != old}
    return [one_line(f"{key}: {now[key]} instead of {old}, so that digits may differ") for key, old in old_values.items()]


def _changed_keys(before: Mapping[str, Any], after: Mapping[str, Any]) -> list[str]:
    keys = [key for key in sorted(before.keys() | after.keys()) if before.get(key) != after.get(key) and key != "run_dir"]
    choices = {**dict.fromkeys(AUTOTUNE_KEYS, "auto"), **dict.fromkeys(INPUT_KEYS)}
    return [key for key in keys if not (key in choices and after.get(key) == choices[key])]


def is_overridable(key: str) -> bool:
    """Whether a run may go on with another value of this key, because nothing that is learned depends on it."""
    return any(key == prefix or key.startswith(f"{prefix}.") for prefix in OVERRIDABLE_ON_RESUME)


def _check_restart(folder: RunFolder) -> None:
    """Torchrun starts everything again, also what was asked to stop or would fail again. Raises InputError."""
    process, result = process_environment(), records.read_or_empty(records.read_result, folder)
    final = result.get("status") == "interrupted" or result.get("error_type") == NonFiniteLossError.__name__
    if final and process.launcher == "torchrun" and process.restarts:
        raise InputError(
            Problem("torchrun", f"{folder.path} is not started again: {result.get('error', 'it was asked to stop')}")
        )
