"""`regulo train --resume RUN [key=value …]`: which run goes on, from which checkpoint, and what may be different from now on."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from regulo import config as configs
from regulo import records
from regulo.config import Config
from regulo.environment import environment
from regulo.errors import Problem, Refused, one_line
from regulo.runs import BEST, LAST, RunFolder
from regulo.stopping import started_again

if TYPE_CHECKING:
    from regulo.data.pipeline.module import ImageData

FREE = (
    "logger",
    "callbacks",
    "data.root",
    "data.num_workers",
    *(f"trainer.{name}" for name in ("max_time", "save_every_n_steps", "save_every_minutes", "hang_seconds")),
)
"""keys, and groups of keys, on which nothing depends that is learned"""
MEASURED = ("trainer.precision", "trainer.memory_format")
"""what may have been asked for as auto"""


@dataclass(frozen=True)
class Begun:
    """A run that goes on."""

    folder: RunFolder
    config: Config
    changes: tuple[str, ...]
    """what is different from now on, for people"""
    checkpoint: Path | None
    """None: it was interrupted before it wrote one"""
    kept: Mapping[str, Any]
    """what is in it"""
    stamp: tuple[int, int] | None
    """which file was last.ckpt when it was read: each save makes another"""

    def trusted(self) -> Config:
        """The config to build from: the weights come from the checkpoint, if there is one."""
        from regulo.restore import trusting

        return trusting(self.config) if self.checkpoint else self.config

    def take_over(self) -> None:
        """Once the folder is ours: see that it is as it was read, and whole. Raises Refused."""
        from regulo import checkpoints

        best, last = (self.folder.checkpoints / name for name in (BEST, LAST))
        if self.stamp != checkpoints.stamp(last):
            raise Refused(Problem("RUN", f"{self.folder.path} went on meanwhile", "try again"))
        if self.checkpoint and records.place(self.kept, str(self.checkpoint)).place[0]:
            try:
                checkpoints.read(best)
            except (OSError, Refused) as error:
                what = f"{best}, which an earlier epoch has left, is missing or torn"
                raise Refused(Problem("RUN", what, "copy it back, or begin a new run")) from error
        if self.checkpoint and self.checkpoint != last:
            last.unlink(missing_ok=True)  # it is torn, and would take the place of the good one before it

    def start(self, data: "ImageData") -> "Start":
        """Let the data begin where the checkpoint was written. Raises Refused if they are others now."""
        if not self.checkpoint:
            return Start(None, 0, 0, 0, self.changes)
        told = records.place(self.kept, str(self.checkpoint))
        if told.images != data.sizes() or records.facts(self.kept, str(self.checkpoint)).classes != data.facts.classes:
            raise Refused(Problem("data", f"{self.folder.path} was trained on other images", "go on with the same ones"))
        data.begin = told.place
        return Start(self.checkpoint, told.global_step, told.place[0], told.rows, self.changes)


@dataclass(frozen=True)
class Start:
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
        lines = [f"going on {where}"]
        return "\n".join([*lines, *(f"changed: {change}" for change in self.changes)])


def begun(words: Sequence[str]) -> Begun | None:
    """The run that these words say should go on; None if they describe a new one. Raises Refused.

    `--resume RUN` says so; or a cluster that starts the job of `run_dir=RUN` again with the same words.
    """
    if "--resume" in words:
        place = list(words).index("--resume")
        named = words[place + 1 : place + 2]
        if not named or ("=" in named[0] and not Path(named[0]).is_dir()):
            raise Refused(Problem("--resume", "needs the folder of a run", "regulo train --resume runs/…"))
        folder = RunFolder.open(named[0])
        saved = folder.config()
        tree = configs.changed(saved, [*words[:place], *words[place + 2 :]])
        if tree.get("run_dir") != saved.get("run_dir"):
            raise Refused(Problem("run_dir", f"{folder.path} goes on where it is", "leave run_dir out, or move the folder"))
        return _begun(folder, saved, tree)
    if started_again():
        config = configs.load(words)
        wanted = config.run.run_dir
        if wanted and (Path(wanted) / "config.yaml").is_file():
            folder = RunFolder.open(wanted)
            return _begun(folder, folder.config(), config.as_dict())
    return None


def _begun(folder: RunFolder, saved: Mapping[str, Any], tree: Mapping[str, Any]) -> Begun:
    if records.result(folder).get("status") == "done":
        hint = f"regulo evaluate {folder.path} scores it again"
        raise Refused(Problem("RUN", f"{folder.path} is done: there is nothing to go on with", hint))
    from regulo import checkpoints

    stamp = checkpoints.stamp(folder.checkpoints / LAST)
    checkpoint, kept = checkpoints.latest(folder) or (None, {})
    before, after = _flat(saved), _flat(tree)
    problems, changes = [], []
    if checkpoint:
        trained = _flat(records.weights(dict(kept), str(checkpoint))["regulo"]["config"])
        for key in sorted(trained.keys() | before.keys()):
            if trained.get(key) != before.get(key) and not _free(key) and key != "run_dir":
                what = f"config.yaml has {before.get(key)!r}, and {checkpoint} was trained with {trained.get(key)!r}"
                problems.append(Problem(key, what, "put it back"))
    if before.get("trainer.strategy") == "fsdp":  # Lightning reads a sharded run's checkpoint past our checks
        problems.append(Problem("trainer.strategy", "a sharded run cannot go on yet", "regulo evaluate scores what it kept"))
    for key in sorted(before.keys() | after.keys()):
        old, new = before.get(key), after.get(key)
        if old == new or key == "run_dir" or (key in MEASURED and new == "auto"):
            continue
        if _free(key):
            changes.append(f"{key}: {new!r} instead of {old!r}")
        else:
            what = f"this run has {old!r}, and what it learns depends on it"
            problems.append(Problem(key, what, f"go on without the change, or begin a new run with {key}={new}"))
    if problems:
        raise Refused(*problems)
    here = environment()
    for key, old in records.environment(folder).items():
        if here.get(key, old) != old:
            changes.append(one_line(f"{key}: {here[key]} instead of {old}, so that digits may differ"))
    measured = {key.removeprefix("trainer."): before[key] for key in MEASURED if key in before}
    whole = {**tree, "run_dir": saved.get("run_dir"), "trainer": {**tree["trainer"], **measured}}
    return Begun(folder, configs.validate(whole), tuple(changes), checkpoint, kept, stamp)


def _free(key: str) -> bool:
    return any(key == free or key.startswith(f"{free}.") for free in FREE)


def _flat(tree: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    pairs: dict[str, Any] = {}
    for key, value in tree.items():
        if isinstance(value, Mapping) and value:
            pairs |= _flat(value, f"{prefix}{key}.")
        else:
            pairs[f"{prefix}{key}"] = value
    return pairs
