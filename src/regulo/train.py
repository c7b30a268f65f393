"""`regulo train`: the one place that knows data, model, plan, task and Trainer."""

import contextlib
import copy
import dataclasses
import functools
import signal
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from regulo import config as configs
from regulo import resume
from regulo.config import Config
from regulo.environment import environment
from regulo.errors import Diverged, Failed, Refused
from regulo.home import without_home
from regulo.ranks import launch
from regulo.ranks.board import Board
from regulo.ranks.line import Pace
from regulo.ranks.member import Member
from regulo.resume import Begun
from regulo.runs import BEST, RunFolder
from regulo.stopping import Interrupted, Wishes, requeue

if TYPE_CHECKING:
    from lightning.pytorch.loggers import Logger

    from regulo.build import Parts
    from regulo.resume import Start
    from regulo.speed import Choice
    from regulo.task import Classifier


def train(words: Sequence[str]) -> int:
    """Train, restore, test, tell; `--resume RUN` goes on with a run that was interrupted. Returns the exit code."""
    if launch.place().rank:
        return _help(words)
    begun = resume.begun(words)
    config = begun.config if begun else configs.load(words)
    with Board() as board, Wishes(config.trainer.max_seconds()) as wishes:
        return _lead(config, begun, words, board, wishes)


def _lead(config: Config, begun: Begun | None, words: Sequence[str], board: Board, wishes: Wishes) -> int:
    """Be the first process of a run, or the only one."""
    if not begun:
        RunFolder.check(config.run.run_dir)
    config.trainer.check()
    config.logger.preflight()

    from regulo import build, mishaps, tables

    with mishaps.refused(config):
        parts = build.build(begun.trusted() if begun else config)
        choice = measure_speed(parts)
    folder = begun.folder if begun else RunFolder.create(config.run.run_dir, config.run.name)
    with folder.taken():
        if begun:
            begun.take_over()
        start = begun.start(parts.data) if begun else None
        config = build.settle(config, choice)
        parts = dataclasses.replace(parts, config=config)
        with outcome(folder, config, start) as result:
            folder.save_config(config.as_dict())
            folder.save_json("environment.json", environment())
            folder.save_json("plan.json", {"regularizers": parts.plan.rows(), "speed": choice.as_dict()})
            tables.plan(parts.plan.rows(), choice)
            tables.rate(config.optim, config.data.batch_size, config.trainer.processes(), parts.batch)
            if start:
                print(start)
            classifier = parts.classifier()
            plain = copy.deepcopy(classifier) if config.trainer.strategy == "fsdp" else classifier  # one that is never sharded
            known = config.as_dict() | {"plan": parts.plan.rows()}
            with config.logger.opened(folder.path, known, start.rows if start else None) as loggers:
                told = {"run_dir": str(folder.path), "step": start.step if start else 0}
                told |= {"precision": choice.precision, "memory_format": choice.memory_format}
                spec = config.trainer
                with board.together(words, spec.processes(), told, spec.hang_seconds, failed(folder, result)) as pace:
                    result |= fit(parts, classifier, folder, loggers, pace, wishes, start)
                result |= conclude(parts, plain, folder, loggers)
    tables.scores(result, title=f"{result['weights']} weights, epoch {result['weights_epoch']} of {result['epochs']}")
    tables.where(folder.path)
    return 0


def measure_speed(parts: "Parts") -> "Choice":
    """Settle precision and memory format on one real batch."""
    from regulo import speed
    from regulo.batch import soft_targets
    from regulo.task import Classifier

    spec, batch = parts.config.trainer, parts.data.example()
    if "auto" not in (spec.precision, spec.memory_format):
        return speed.Choice(spec.precision, spec.memory_format)
    device = spec.device()
    images = Classifier(parts.model, parts.data.facts, "contiguous").to(device).normalise(batch.images.to(device))
    targets = soft_targets(batch.labels.to(device), parts.data.facts.num_classes).repeat(len(images) // len(batch.labels), 1)
    return speed.choose(parts.model, images, targets, spec.precision, spec.memory_format)


def fit(
    parts: "Parts",
    classifier: "Classifier",
    folder: RunFolder,
    loggers: "Sequence[Logger]",
    pace: Pace,
    wishes: Wishes,
    start: "Start | None" = None,
) -> dict[str, Any]:
    """Train to the end of the schedule, or until the plan stops it. Raises Interrupted if the run is asked to stop."""
    from lightning.pytorch.utilities.exceptions import SIGTERMException

    from regulo import logs, mishaps, speed
    from regulo.callbacks.base import Scene
    from regulo.checkpoints import keepers
    from regulo.sharding import ShardedClassification
    from regulo.task import ImageClassification

    config, facts = parts.config, parts.data.facts
    scene = Scene(facts, folder.figures, logs.publisher(loggers))
    observers = [c for o in config.callbacks.values() for c in o.callbacks(scene)]
    kept = keepers(folder.checkpoints, config.run.goal, config.trainer, wishes)
    callbacks = [*parts.plan.callbacks(config.run.goal), *observers, *kept, pace.callback()]
    trainer = config.trainer.build(folder.path, loggers, callbacks)
    optim = config.optim.for_batch(parts.batch)
    kind = ShardedClassification if config.trainer.strategy == "fsdp" else ImageClassification
    task = kind(classifier, facts, parts.plan, optim, config.run.seed, config.trainer.log_every_n_steps)
    task.extra = {
        "config": config.as_dict(),
        "facts": dataclasses.asdict(facts),
        "images": parts.data.sizes(),
    }
    try:
        with mishaps.told(config, folder.path):  # here, where the rank is known to which it happened
            trainer.fit(task, parts.data, ckpt_path=start.checkpoint if start else None, weights_only=True)
    except Interrupted:
        raise
    except SIGTERMException:  # before the first step
        raise Interrupted("SIGTERM", 143) from None
    except SystemExit:  # into which Lightning turns Ctrl-C, with the code of a failure
        raise KeyboardInterrupt from None
    wishes.trained()
    return {
        "epochs": round(trainer.global_step * config.trainer.max_epochs / task.steps),
        "steps": trainer.global_step,
        "fit_seconds": round(task.rate.seconds(), 2),
        "images_per_second": round(task.rate.mean(), 1),
        "epoch_seconds": round(task.rate.epoch(), 3),
        "peak_memory_mb": round(speed.peak_memory(config.trainer.device()) / 1e6),
        "params": sum(p.numel() for p in parts.model.parameters()),
    }


def conclude(parts: "Parts", classifier: "Classifier", folder: RunFolder, loggers: "Sequence[Logger]") -> dict[str, Any]:
    """Restore the weights that are handed on, and measure them on one device."""
    from regulo import checkpoints, cores, logs, records
    from regulo.callbacks.base import Scene
    from regulo.evaluate import SPLITS, answers, turn_back
    from regulo.scores import gaps

    cores.share(1)
    kept = checkpoints.handed_on(folder, parts.plan)
    checkpoints.load_weights(classifier, kept)
    turn_back(classifier, kept)
    best = checkpoints.read(folder.checkpoints / BEST)["epoch"] + 1
    result: dict[str, Any] = {
        "best_epoch": best,
        "weights": "best" if parts.plan.keeps_best else "last",
        "weights_epoch": kept["epoch"] + 1,
    }
    spec = parts.config.trainer
    ask = functools.partial(answers, classifier, device=spec.device(), precision=spec.precision, plan=parts.plan)
    if parts.plan.calibrates:
        val = ask(parts.data.evaluation_loader("val"))
        result["temperature"] = parts.plan.calibrate(val.logits, val.labels)
        folder.save_json("calibration.json", {"temperature": result["temperature"]})
    for name in SPLITS:
        given = ask(parts.data.evaluation_loader(name), temperature=records.temperature(folder))
        result |= {f"{name}/{key}": value for key, value in given.scores().items()}
    result |= gaps(result)
    scene = Scene(parts.data.facts, folder.figures, logs.publisher(loggers))
    for observer in parts.config.callbacks.values():
        observer.conclude(scene, given, parts.data.evaluated["test"].split)
    for logger in loggers:
        logger.log_metrics({k: v for k, v in result.items() if k.startswith("test/")}, step=kept["global_step"])
        logger.save()
    return result


@contextlib.contextmanager
def outcome(folder: RunFolder, config: Config, start: "Start | None" = None) -> Iterator[dict[str, Any]]:
    """Within: a result to fill in. result.json says how the run ended, however it ends. Raises Failed for a known mishap."""
    from regulo import mishaps, records

    result: dict[str, Any] = {"status": "running", "seed": config.run.seed}
    if start:
        result["resumed_at"] = [*records.result(folder).get("resumed_at", []), start.step]
    try:
        folder.save_json("result.json", result)
        yield result
        folder.save_json("result.json", result | {"status": "done"})
    except BaseException as error:
        told = mishaps.failure(error, config, folder.path) or error
        status = "interrupted" if isinstance(error, KeyboardInterrupt | SystemExit) else "failed"
        kind = type(error.__cause__ if isinstance(error, Failed) and error.__cause__ else error).__name__
        why = {"error": without_home(mishaps.summary(told)), "error_type": kind}
        with contextlib.suppress(OSError):  # a disk that is full must not hide why
            folder.save_json("result.json", result | {"status": status, **why})
        if isinstance(error, Interrupted):
            print(f"regulo: stopped ({error}); go on with: {folder.resuming()}", file=sys.stderr)
            if error.code == 128 + signal.SIGUSR1 and (said := requeue()):
                print(f"regulo: {said}", file=sys.stderr)
        elif not isinstance(told, Diverged | SystemExit) and (how := folder.how_to_go_on()):
            told.add_note(how)
        if told is error:
            raise
        raise told from error


def failed(folder: RunFolder, result: dict[str, Any]) -> Callable[[str], str]:
    """Says in result.json that the run failed, where this can't wait for the main thread. Returns how to go on."""

    def say(why: str) -> str:
        folder.save_json("result.json", result | {"status": "failed", "error": why, "error_type": "Failed"})
        return folder.how_to_go_on()

    return say


def _help(words: Sequence[str]) -> int:
    """Be one of the other processes of a distributed run: train along, and leave the rest to the first."""
    from regulo import build
    from regulo.restore import trusting
    from regulo.speed import Choice

    try:
        begun = resume.begun(words)
        config = begun.config if begun else configs.load(words)
    except Refused as refusal:  # the first process does so, too, and ends, unless it sees other files
        if launch.answers(launch.place(), seconds=20):
            Member(launch.place()).refuses(refusal)
        return 2
    member = Member(launch.place())
    told = member.told()
    with member.watched(config.trainer.hang_seconds) as pace, Wishes(config.trainer.max_seconds()) as wishes:
        known = config if config.trainer.strategy == "fsdp" else trusting(config)  # DDP hands out the weights of the first
        parts = build.build(build.settle(known, Choice(told["precision"], told["memory_format"])))
        start = begun.start(parts.data) if begun else None
        if told["step"] != (step := start.step if start else 0):
            raise Failed(
                f"the first process goes on at step {told['step']}, and this one would at {step}: they see other folders"
            )
        fit(parts, parts.classifier(), RunFolder(Path(told["run_dir"])), [], pace, wishes, start)
    return 0
