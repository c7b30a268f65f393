"""`regulo train`: prepare the run, fit, evaluate. The one place that knows data, model, plan, task and Trainer."""

import contextlib
import copy
import dataclasses
import functools
import signal
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from regulo.config import compose
from regulo.config.schema import Config
from regulo.core.errors import InputError, NonFiniteLossError, RunError, exit_code
from regulo.core.paths import redact_home
from regulo.core.processes import collect_garbage_as_usual, exit_now
from regulo.distributed.environment import ProcessEnvironment, die_with_launcher, process_environment, restart_count
from regulo.distributed.preemption import RunStoppedError, StopRequest, requeue_slurm_job
from regulo.tracking.environment import describe_environment
from regulo.tracking.run_dir import BEST, SPLITS, RunFolder
from regulo.training import resume
from regulo.training.resume import ResumableRun, ResumePoint

if TYPE_CHECKING:
    from lightning.pytorch.loggers import Logger

    from regulo.distributed.peers import Peers
    from regulo.models.components.classifier import Classifier
    from regulo.training.autotune import AutotuneResult
    from regulo.training.build import RunComponents


@dataclass(frozen=True)
class RunRequest:
    """What the command line asks for."""

    config: Config
    resumable: ResumableRun | None
    data_folder: RunFolder | None
    """the run, or study, on whose images it trains; None: on those that are there now"""
    input_note: str = ""
    """what the data have taken from the weights, for people"""

    @classmethod
    def parse(cls, arguments: Sequence[str], restart_folder: Path | None = None) -> "RunRequest":
        """Raises InputError. `restart_folder`: the run's folder, if its processes are started again."""
        arguments, data_folder = resume.take_same_data(arguments)
        resumable = resume.parse_resume(arguments, restart_folder)
        if resumable:
            return cls(resumable.config, resumable, resumable.folder)
        config, note = compose.load_config(arguments).take_input_of_weights()
        return cls(config, None, data_folder, note)

    def check(self) -> None:
        """Compare it with this machine, before anything is spent on the run. Raises InputError."""
        if not self.resumable:
            RunFolder.check_available(self.config.run.run_dir)
        self.config.trainer.check_machine()


@dataclass(frozen=True)
class Run:
    """A run that is ready to train in this process."""

    config: Config
    components: "RunComponents"
    folder: RunFolder
    resume_point: ResumePoint | None


# ---- the processes of a run


def train(arguments: Sequence[str]) -> int:
    """Train, and score the final weights; `--resume RUN` goes on with a run that was interrupted. Returns the exit code."""
    process = process_environment()
    if process.launcher:
        return _run_process(arguments, process)
    request = RunRequest.parse(arguments)
    trainer = request.config.trainer
    if not trainer.needs_launcher:
        return _run_main(request)
    request.check()  # what is wrong is reported fast, and once

    from regulo.distributed.launch import launch

    return launch(arguments, trainer.world_size(), trainer.max_restarts)


def _run_process(arguments: Sequence[str], process: ProcessEnvironment) -> int:
    """Be one of the processes that a launcher has started."""
    from regulo.distributed.peers import Peers

    die_with_launcher()
    peers = Peers(process)
    if process.rank:
        return _run_worker(arguments, peers)
    try:
        return _run_main(RunRequest.parse(arguments, peers.restart_folder()), peers)
    except InputError:
        peers.refuse()
        raise
    except RunError:
        if process.external_launcher:
            raise
        exit_now(1)  # our launcher reports the failure; at a normal exit torch may wait for processes that have gone


def _run_main(request: RunRequest, peers: "Peers | None" = None) -> int:
    """Be the only process of a run, or the first one: prepare, fit, evaluate."""
    from regulo.evaluation import summary
    from regulo.tracking.checkpoint_io import final_checkpoint

    request.check()
    with StopRequest(request.config.trainer.max_seconds()) as stop:
        components, autotune_result, cache_note = prepare(request)
        resumable = request.resumable
        folder = resumable.folder if resumable else RunFolder.create(request.config.run.run_dir, request.config.run.name)
        with folder.lock():
            run = start_run(request, components, autotune_result, folder)
            with record_status(run, peers) as result:
                save_description(run, autotune_result, (request.input_note, cache_note))
                classifier = run.components.classifier()
                unsharded_classifier = copy.deepcopy(classifier) if run.config.trainer.strategy == "fsdp" else classifier
                with open_loggers(run) as loggers:
                    if peers:
                        step = run.resume_point.step if run.resume_point else 0
                        record = run.components.data_record
                        settings = {**autotune_result.settings, "device": run.config.data.device}
                        peers.publish({"step": step, "data": record.identity(), **settings})
                    result |= fit(run, classifier, loggers, stop)
                    result |= final_evaluation(run, unsharded_classifier, loggers)
                    checkpoint = final_checkpoint(folder, run.components.plan.keeps_best)
                    run.config.logger.log_result(loggers, result | {"status": "done"}, checkpoint)
    summary.print_scores(result, title=f"{result['weights']} weights, epoch {result['weights_epoch']} of {result['epochs']}")
    summary.print_run_folder(folder.path)
    return 0


def _run_worker(arguments: Sequence[str], peers: "Peers") -> int:
    """Be one of the other processes: fit, and leave the rest to the first one."""
    from regulo.core import failures

    try:
        request = RunRequest.parse(arguments, peers.restart_folder())
    except InputError as refusal:  # the first process refuses too, unless it sees other files
        peers.join(str(refusal))
        return 2
    choices, folder = peers.receive()
    try:
        with StopRequest(request.config.trainer.max_seconds()) as stop:
            run = join_run(request, choices, RunFolder(folder))
            peers.join()
            run.components.data.cache_images()  # another node has files and memory of its own
            fit(run, run.components.classifier(), [], stop)
    except (KeyboardInterrupt, SystemExit) as end:
        return exit_code(end)
    except Exception as error:
        peers.report(failures.as_run_error(error, request.config.data.batch_size, folder))
        exit_now(1)
    return 0


# ---- before training


def prepare(request: RunRequest) -> "tuple[RunComponents, AutotuneResult, str]":
    """Data, plan and model, how fast the model runs in which precision, and where images are cached, for people.

    The run folder is not made yet. Raises InputError.
    """
    from regulo.core import failures
    from regulo.training import build
    from regulo.training.measure_speed import measure_speed

    request.config.logger.preflight()
    resumable = request.resumable
    with failures.as_input_error(request.config.data.batch_size):
        config = resumable.config_without_input_checks() if resumable else request.config
        components = build.build_components(config, request.data_folder)
        cache_note = components.data.cache_images()
        return components, measure_speed(components), cache_note


def start_run(request: RunRequest, components: "RunComponents", autotune_result: "AutotuneResult", folder: RunFolder) -> Run:
    """The run in its folder, which is ours now. Raises InputError if another process has begun it, or went on with it."""
    from regulo.training import build

    resume_point = None
    if request.resumable:
        request.resumable.claim()
        resume_point = request.resumable.resume_point(components.data)
    else:
        folder.claim()
    config = build.apply_placement(build.apply_autotune(request.config, autotune_result), components.config.data.device)
    return Run(config, dataclasses.replace(components, config=config), folder, resume_point)


def join_run(request: RunRequest, choices: dict[str, Any], folder: RunFolder) -> Run:
    """The run that the first process has started, in another process. Raises RunError if they see different checkpoints."""
    from regulo.evaluation.restore import without_input_checks
    from regulo.training import build
    from regulo.training.autotune import AutotuneResult

    config = (
        request.config if request.config.trainer.strategy == "fsdp" else without_input_checks(request.config)
    )  # DDP copies weights
    speed = AutotuneResult(choices["precision"], choices["memory_format"], compile=choices["compile"])
    config = build.apply_autotune(config, speed)
    components = build.build_components(build.apply_placement(config, choices["device"]), request.data_folder or folder)
    if components.data_record.identity() != choices["data"]:
        raise RunError("this process does not see the same images as the first one")
    resume_point = request.resumable.resume_point(components.data) if request.resumable else None
    step = resume_point.step if resume_point else 0
    if step != choices["step"]:
        what = f"the first process goes on at step {choices['step']}, and this one would at {step}: they see other folders"
        raise RunError(what)
    return Run(components.config, components, folder, resume_point)


def save_description(run: Run, autotune_result: "AutotuneResult", notes: Sequence[str]) -> None:
    """Write down and print what is trained."""
    from regulo.core.console import CONSOLE
    from regulo.training import summary as training_summary

    plan, trainer = run.components.plan.as_rows(), run.config.trainer
    run.folder.save_json("data.json", run.components.data_record.model_dump())
    run.folder.save_json("environment.json", describe_environment())
    run.folder.save_json("plan.json", {"regularizers": plan, "speed": autotune_result.as_dict()})
    training_summary.print_data(run.components.data_record)
    for note in filter(None, (run.components.weights_note, *notes)):
        CONSOLE.print(note, soft_wrap=True)
    training_summary.print_plan(plan, autotune_result)
    training_summary.print_learning_rate(run.config.optim, run.config.data.batch_size, trainer.world_size(), run.components.batch)
    if run.resume_point:
        print(run.resume_point)


def open_loggers(run: Run) -> "contextlib.AbstractContextManager[list[Logger]]":
    """The loggers of the run, which go on behind the rows before its checkpoint."""
    from regulo.training import description

    config, folder = run.config, run.folder.path
    return config.logger.open_loggers(
        folder,
        description.run_title(config),
        {"folder": folder.name, **description.describe_config(config)},
        description.run_tags(config),
        run.resume_point.rows if run.resume_point else None,
    )


# ---- training


def fit(run: Run, classifier: "Classifier", loggers: "Sequence[Logger]", stop: StopRequest) -> dict[str, Any]:
    """Train to the end of the schedule, or until the plan stops it. Raises RunStoppedError if the run is asked to stop."""
    from lightning.pytorch.utilities.exceptions import SIGTERMException

    from regulo.callbacks.base import FigureContext
    from regulo.core import compilation, precision
    from regulo.tracking import loggers as loggers_module
    from regulo.training.checkpointing import checkpoint_callbacks
    from regulo.training.fsdp import FSDPClassificationModule
    from regulo.training.module import ClassificationModule
    from regulo.training.trainer import build_trainer

    config, components = run.config, run.components
    dataset_info, goal = components.data.dataset_info, config.run.goal
    context = FigureContext(dataset_info, run.folder.figures, loggers_module.image_publisher(loggers))
    callback_plugins = [callback for plugin in config.callbacks.values() for callback in plugin.callbacks(context)]
    savers = checkpoint_callbacks(run.folder.checkpoints, goal, config.trainer, stop)
    task_class = FSDPClassificationModule if config.trainer.strategy == "fsdp" else ClassificationModule
    optim = config.optim.for_batch_size(components.batch)
    task = task_class(
        classifier, components.data.class_counts(), components.plan, optim, config.run.seed, config.trainer.log_every_n_steps
    )
    task.checkpoint_extra = {
        "config": config.as_dict(),
        "facts": dataclasses.asdict(dataset_info),
        "images": components.data.split_sizes(),
    }
    if config.trainer.compile == "on":
        compilation.compile_in_place(classifier.model)
    checkpoint = run.resume_point.checkpoint if run.resume_point else None
    collect_garbage_as_usual()
    with watchdog(run) as watchdogs:
        callbacks = [*components.plan.callbacks(goal), *callback_plugins, *savers, *watchdogs]
        trainer = build_trainer(config.trainer, run.folder.path, loggers, callbacks)
        try:
            trainer.fit(task, components.data, ckpt_path=checkpoint, weights_only=True)
        except RunStoppedError:
            raise
        except SIGTERMException:  # before the first step
            raise RunStoppedError.by_signal(signal.SIGTERM) from None
        except SystemExit:  # into which Lightning turns Ctrl-C, with the code of a failure
            raise KeyboardInterrupt from None
    stop.end_training()
    return {
        "epochs": round(trainer.global_step * config.trainer.max_epochs / task.steps),
        "steps": trainer.global_step,
        "fit_seconds": round(task.throughput.fit_seconds(), 2),
        "images_per_second": round(task.throughput.mean_images_per_second(), 1),
        "epoch_seconds": round(task.throughput.median_epoch_seconds(), 3),
        "peak_memory_mb": round(precision.peak_memory(config.trainer.device()) / 1e6),
        "params": sum(p.numel() for p in components.model.parameters()),
    }


@contextlib.contextmanager
def watchdog(run: Run) -> Iterator[list[Any]]:
    """Inside, a process that makes no progress ends, if somebody watches it. Yields the callbacks that report progress."""
    process, timeout = process_environment(), run.config.trainer.hang_timeout
    if not process.launcher or timeout is None:
        yield []
        return

    from regulo.distributed.failure import traceback_file
    from regulo.distributed.watchdog import WatchdogCallback

    with WatchdogCallback(timeout, run.folder.path / traceback_file(process.rank), process.rank) as callback:
        yield [callback]


# ---- after training


def final_evaluation(run: Run, classifier: "Classifier", loggers: "Sequence[Logger]") -> dict[str, Any]:
    """Restore the final weights, and score them on one device."""
    from regulo.callbacks.base import FigureContext
    from regulo.core import affinity
    from regulo.core.metrics.components.running import generalization_gaps
    from regulo.evaluation import inference
    from regulo.tracking import checkpoint_io, class_scores, records
    from regulo.tracking import loggers as loggers_module

    affinity.limit_threads(1)
    plan, data, folder, trainer = run.components.plan, run.components.data, run.folder, run.config.trainer
    checkpoint = checkpoint_io.load_final_checkpoint(folder, plan.keeps_best)
    checkpoint_io.load_weights(classifier, checkpoint)
    inference.restore_ramps(classifier, checkpoint)
    result: dict[str, Any] = {
        "best_epoch": checkpoint_io.read_checkpoint(folder.checkpoints / BEST)["epoch"] + 1,
        "weights": "best" if plan.keeps_best else "last",
        "weights_epoch": checkpoint["epoch"] + 1,
    }
    if "interpolation" in checkpoint:
        result["interpolation"] = checkpoint["interpolation"]
    predict = functools.partial(
        inference.run_inference, classifier, device=trainer.device(), precision=trainer.precision, plan=plan
    )
    if plan.calibrates:
        val = predict(data.evaluation_loader("val"))
        result["temperature"] = plan.calibrate(val.logits, val.labels)
        folder.save_json("calibration.json", {"temperature": result["temperature"]})
    matrices = {}
    for split in SPLITS:
        outputs = predict(data.evaluation_loader(split), temperature=records.read_temperature(folder))
        result |= {f"{split}/{key}": value for key, value in outputs.scores().items()}
        matrices[split] = outputs.confusion_matrix()
    class_scores.write_class_scores(folder, matrices, data.dataset_info.classes)
    result |= generalization_gaps(result)
    context = FigureContext(data.dataset_info, folder.figures, loggers_module.image_publisher(loggers))
    for plugin in run.config.callbacks.values():
        plugin.after_evaluation(context, outputs, data.eval_datasets["test"].split)
    for logger in loggers:
        logger.log_metrics({k: v for k, v in result.items() if k.startswith("test/")}, step=checkpoint["global_step"])
        logger.save()
    return result


# ---- how it ends


@contextlib.contextmanager
def record_status(run: Run, peers: "Peers | None" = None) -> Iterator[dict[str, Any]]:
    """Inside: a result to fill in. result.json says how the run ended, however it ends.

    The one place where an error of the run becomes a message. Raises RunError for a known failure, or that of another process.
    """
    from regulo.core import failures

    folder, result = run.folder, {"status": "running", "seed": run.config.run.seed, **_history(run)}
    try:
        if peers:
            peers.set_folder(folder.path)
        folder.save_config(run.config.as_dict())  # first: with it the folder is a run, which can go on
        folder.save_json("result.json", result)
        yield result
        folder.save_json("result.json", result | {"status": "done"})
    except BaseException as error:
        failure = failures.as_run_error(error, run.config.data.batch_size, folder.path)
        if peers and isinstance(failure, Exception):
            failure = peers.diagnose(failure)
        is_stop = isinstance(error, KeyboardInterrupt | SystemExit)
        cause = failure.__cause__ if isinstance(failure, RunError) and failure.__cause__ else failure
        status = {"status": "interrupted" if is_stop else "failed", "error": redact_home(failures.summary(failure))}
        with contextlib.suppress(OSError):  # a disk that is full must not hide the error
            folder.save_json("result.json", result | status | {"error_type": type(cause).__name__})
        if isinstance(error, RunStoppedError):
            _report_stop(error, folder)
        elif not isinstance(failure, NonFiniteLossError | SystemExit) and (hint := folder.resume_hint(fixable=not is_stop)):
            failure.add_note(hint)
        if failure is error:
            raise
        raise failure from failure.__cause__


def _history(run: Run) -> dict[str, Any]:
    """What the run went through before: at which steps it was resumed, and how often it was started again by a machine."""
    from regulo.tracking import records

    before = records.read_or_empty(records.read_result, run.folder) if run.resume_point else {}
    history = {"resumed_at": [*before.get("resumed_at", []), run.resume_point.step]} if run.resume_point else {}
    restarts = max(before.get("restarts", 0) + bool(restart_count()), restart_count())
    return history | ({"restarts": restarts} if restarts else {})


def _report_stop(stop: RunStoppedError, folder: RunFolder) -> None:
    print(f"regulo: stopped ({stop}); go on with: {folder.resume_command()}", file=sys.stderr)
    if stop.code == 128 + signal.SIGUSR1 and (message := requeue_slurm_job()):
        print(f"regulo: {message}", file=sys.stderr)
