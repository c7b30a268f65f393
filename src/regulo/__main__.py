"""The command line: `regulo COMMAND …`, which is the same as `python -m regulo COMMAND …`.

This file declares what each command takes. Nothing heavy is imported before a command runs, so `--help`, `--version` and
completion answer at once.
"""

import importlib
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NoReturn

from regulo import __version__
from regulo.core.arguments import ArgumentParser, Choice
from regulo.core.errors import InputError, Problem, RunError, exit_code, nearest, one_line
from regulo.core.extensions import list_extensions, use_extensions
from regulo.core.memory import keep_freed_memory
from regulo.core.output import safe_output
from regulo.core.paths import library_folders
from regulo.core.processes import run_process
from regulo.core.program import PROGRAM
from regulo.core.text import definitions
from regulo.core.warnings import ignore_harmless_warnings
from regulo.tracking.run_dir import SPLITS
from regulo.tracking.run_names import resolve_run_options

HELP = ("-h", "--help")
VERSION = ("-V", "--version")

RUN = "a run's folder, or its name or the beginning of it, or `latest` (the newest finished run) or `best` (lowest val/loss)"

DATA_ROOT = "where the data are now, if they have moved; also written data.root=FOLDER"

ABLATE = """\
study=quick         a study of configs/study, or the path of a YAML like those
study.seeds=5       any field of the study: title, techniques, design, seeds, strengths, corruptions, label_noise, budget
data=cifar10        every other argument is an override of `regulo train` for the base, and so for all runs
at_once=2           number of runs at the same time; default: one per GPU, without a GPU one per core
launcher=slurm      run on a cluster through submitit, with launcher.slurm_partition=… launcher.timeout_min=…

All files are in runs/studies/<name>/: the runs, study.json, table.csv, report.html, logs/. The same command continues a study \
that was interrupted. Exit code: 0 if all runs are done or wait for a larger budget, 1 if one failed."""

TUNE = """\
budget=2h             how much it may cost, the proof included: s, min, h, d on this machine; or trials=60, a number of plans
data=… model=…        every other argument is an override of `regulo train` for the plan that is tuned, the default plan
tune.search=[mixup,optim.lr]   search these techniques, fields (mixup.p) and keys only; default: all that suit the run
tune.fix=[optim.lr]   leave these as they are
tune.objectives=[gap/loss,epoch_seconds]   besides the monitor; also gap/acc, peak_memory_mb. All runs are then whole ones
seeds=5 plans=3       fresh seeds and best plans of the proof; defaults: 3 and 3
rungs=1               lengths of runs; 1: every run is a whole one; default: up to 3, each a third of the next
study=NAME            the folder below runs/tune; default: data and model
--resume STUDY        go on with a study as it was started; `latest`: the newest one. The same command does so, too
at_once=2             number of runs at the same time, and launcher=slurm, as in `regulo ablate`

regulo tune lr …      learning-rate range test of a run, in seconds: overrides of `regulo train`
regulo tune batch …   the largest batch that fits, and the fastest one

All files are in runs/tune/<study>/: the runs, tune.json, report.html, logs/. The recommended plan is written to \
configs/experiment/<study>.yaml. Several processes may work on one study. Exit code: 0 if the proof is complete, else 1."""

CROSSVAL = """\
folds=5             number of folds; an official test set stays out of them
seeds=3             runs of each fold, whose scores and probabilities are averaged; default: 1
name=photos         the name of its folder, and of its runs
data=…              every other argument is an override of `regulo train`
against …           after this word: overrides of a second plan, which is compared with the first one fold by fold
at_once=2           number of runs at the same time; launcher=slurm: on a cluster

All files are in runs/crossval/<name>/: the runs, oof.csv (the prediction of each image by a run that has not seen it), \
crossval.json, report.html with the images whose labels may be wrong, logs/. The same command continues what was interrupted. \
Exit code: 0 if all runs are done, else 1."""

RUNS = """\
regulo runs                           the newest runs
regulo runs state=failed              also done, running, interrupted, crashed, unreadable
regulo runs "test/acc>0.9"            a number of result.json, or seed, strength, epochs, seconds, size (bytes)
regulo runs model=vit_tiny mixup      a text (data, model, plan, study, name, started), with * for any letters; or any word
regulo runs rm RUN …                  remove runs, after a question; not those that are pinned or being trained
regulo runs pin RUN …                 never remove these; unpin: take that back

All filters must hold. `study=NAME` lists the runs of a study. A running run is shown with the time that is left."""

DOCTOR = """\
Exit code: 0 no findings, or only notes; 1 a warning; 2 an error, which `regulo train` would refuse with the same code. For a \
finished run it is 0, whatever the findings. With --fix, it is the exit code of the run with the fixes."""

INSPECT = """\
regulo inspect photos/                         a folder of class folders
regulo inspect data=fashion_mnist_mini         any data set, with its options

Writes a page (counts, sizes, a contact sheet), and a CSV file with images that are copies of each other, are there under two \
classes, look alike in two splits, or cannot be read. Exit code: 0 no problem, 1 a problem, 2 the data cannot be listed."""

EXPORT = """\
The file takes images (N, H, W, C) uint8 of any size and gives probabilities (N, K): resizing, normalization and the temperature \
are inside. Beside it are FILE.json (parity) and FILE.md (model card). The file must agree with the run on the test images: at \
least 99.9% of the classes, each probability up to 0.001. Exit code: 0 written; 1 it does not agree, and nothing is written."""

COMPLETION = """\
bash:   eval "$(regulo completion bash)"                              in ~/.bashrc
zsh:    eval "$(regulo completion zsh)"                               in ~/.zshrc, after compinit
fish:   regulo completion fish > ~/.config/fish/completions/regulo.fish"""


@dataclass(frozen=True)
class Command:
    """A command: what it takes, and the function that does it."""

    parser: ArgumentParser
    summary: str
    function: str
    """module:name, imported when the command runs"""
    free_form: bool = False
    """whether the function gets the words as they are, because they are overrides"""
    output_required: bool = False
    """whether the output is the result: the command then ends when nobody reads it any more"""


def build_commands() -> dict[str, Command]:
    """The commands, in the order of the list that `regulo --help` prints."""
    subparsers = ArgumentParser(prog=PROGRAM).add_subparsers()
    commands: dict[str, Command] = {}

    def command(name: str, function: str, summary: str, details: str = "", **settings: bool) -> ArgumentParser:
        parser = subparsers.add_parser(name, prog=f"regulo {name}", description=f"{summary}\n\n{details}".strip())
        commands[name] = Command(parser, summary, function, **settings)
        return parser

    train = command("train", "regulo.training.train:train", "train a model, load its best weights, test it", free_form=True)
    train.add_argument("--resume", metavar="RUN", help="continue an interrupted run; `latest`: the newest run that can continue")
    train.add_argument(
        "--same-data", metavar="RUN", help="train and test on exactly the images of this run, whatever was added since"
    )
    train.add_argument("words", metavar="override", nargs="*", help="key=value, or group=option from configs/: see below")

    evaluate = command(
        "evaluate",
        "regulo.evaluation.evaluate:evaluate",
        "compute the scores of a finished run again, from its folder",
        output_required=True,
    )
    evaluate.add_argument("run", metavar="RUN", help=RUN)
    evaluate.add_argument("split", nargs="?", type=Choice("split", SPLITS), help=f"{', '.join(SPLITS)}; default: all")
    evaluate.add_argument("--data-root", metavar="FOLDER", help=DATA_ROOT)
    evaluate.add_argument("--data", metavar="FOLDER | TABLE", help="score other images: class folders, or a table")

    predict = command(
        "predict",
        "regulo.evaluation.predict:predict",
        "predict the classes of image files; prints CSV, or writes a file",
        output_required=True,
    )
    predict.add_argument("run", metavar="RUN", help=RUN)
    predict.add_argument("paths", metavar="PATH", nargs="+", help="an image file, or a folder: all images in it and below")
    predict.add_argument("--top", metavar="K", type=int, default=1, help="the K most probable classes of each image; default: 1")
    predict.add_argument("--output", metavar="FILE", help="write a new file .csv, .jsonl or .parquet instead")
    predict.add_argument(
        "--tta",
        type=Choice("--tta", ("off", "flip", "scale", "all")),
        nargs="?",
        default="off",
        const="flip",
        help="average over each image and its mirror image (flip, the default), a zoomed one (scale), or both (all)",
    )

    export = command(
        "export", "regulo.evaluation.export.command:export", "write the model of a run as one file, ONNX or pt2", EXPORT
    )
    export.add_argument("run", metavar="RUN", help=RUN)
    export.add_argument("--format", type=Choice("format", ("onnx", "pt2")), default="onnx", help="onnx (default) or pt2")
    export.add_argument("--output", metavar="FILE", help="a new file; default: export/model.<format> in the run folder")
    export.add_argument("--data-root", metavar="FOLDER", help=DATA_ROOT)

    dashboard = command("dashboard", "regulo.analysis.dashboard.command:dashboard", "show all runs and studies in the browser")
    what = f"{RUN}, a study's folder, or a folder of runs; default: runs"
    dashboard.add_argument("folders", metavar="RUN | STUDY | FOLDER", nargs="*", help=what)
    dashboard.add_argument("--port", metavar="N", help="of the page on this machine; default: 8008, or the next free one")
    dashboard.add_argument("--no-browser", action="store_true", help="only print the address")
    dashboard.add_argument("--file", metavar="PAGE.html", help="write the page into one file instead, without a server")
    dashboard.add_argument("--online", action="store_true", help="save a workspace for the project on W&B's server instead")
    dashboard.add_argument("--terminal", action="store_true", help="show one run, or all, in the terminal (W&B's local viewer)")

    runs = command("runs", "regulo.tracking.runs:runs", "list all runs; remove or pin some", RUNS, output_required=True)
    runs.add_argument("words", metavar="FILTER", nargs="*", help="see above; or rm, pin or unpin, and runs")
    runs.add_argument("--json", dest="as_json", action="store_true", help="print all about each run as JSON")
    runs.add_argument("--sort", metavar="KEY", help="numbers from the largest, texts from A to Z; --sort=-KEY: the other way")
    runs.add_argument("--all", dest="show_all", action="store_true", help="also the runs of studies and claims, and all rows")
    runs.add_argument("--yes", action="store_true", help="rm: remove without a question; takes whole names only")

    sync = command("sync", "regulo.tracking.sync:sync", "upload offline W&B runs, each once")
    sync.add_argument("runs", metavar="RUN", nargs="*", help=f"{RUN}; default: all below runs/ that are not uploaded yet")
    sync.add_argument("--dry-run", action="store_true", help="only say what would be uploaded")

    claims = command("claims", "regulo.analysis.claims.lab.command:claims", "test the lesson's claims by experiments")
    claims.add_argument("names", metavar="name", nargs="*", help="name of a claim; default: all")
    claims.add_argument("--quick", action="store_true", help="one seed and fewer values: a first impression")
    claims.add_argument("--docs", action="store_true", help="write the results to docs/claims.md")

    ablate = command(
        "ablate",
        "regulo.analysis.ablation.command:ablate",
        "run a study: which technique helps, and by how much",
        ABLATE,
        free_form=True,
    )
    ablate.add_argument("words", metavar="override", nargs="*", help="see above")

    tune = command(
        "tune", "regulo.analysis.tuning.command:tune", "find the regularization of your data, and prove it", TUNE, free_form=True
    )
    tune.add_argument("--resume", metavar="STUDY", help="go on with a study; `latest`: the newest one")
    tune.add_argument("words", metavar="override", nargs="*", help="see above")

    crossval = command(
        "crossval",
        "regulo.analysis.crossval.command:crossval",
        "train and test on each fold of a data set, and find labels that may be wrong",
        CROSSVAL,
        free_form=True,
    )
    crossval.add_argument("words", metavar="override", nargs="*", help="see above")

    doctor = command(
        "doctor",
        "regulo.analysis.doctor.command:doctor",
        "find risky settings of a run, or explain the curves of a finished one",
        DOCTOR,
    )
    doctor.add_argument(
        "words", metavar="override | RUN", nargs="*", help="overrides of `regulo train`, or folders of finished runs"
    )
    doctor.add_argument("--fix", metavar="FILE", nargs="?", const="", help="write an experiment in which the findings are fixed")
    doctor.add_argument(
        "--difference", metavar="POINTS", help="the smallest difference in accuracy that matters, in percentage points"
    )

    inspect = command("inspect", "regulo.analysis.inspection.command:inspect", "look into all images of a data set", INSPECT)
    inspect.add_argument("words", metavar="FOLDER | override", nargs="*", help="a folder, or overrides of `regulo train`")
    inspect.add_argument("--output", metavar="PAGE.html", help="default: inspect.html; the list of files is beside it")

    report = command("report", "regulo.analysis.report.command:report", "write a page that explains a run or a study")
    report.add_argument("folders", metavar="RUN | STUDY", nargs="*", help=f"{RUN}, or a study's folder; default: the newest run")
    report.add_argument("--data-root", metavar="FOLDER", help=DATA_ROOT)
    report.add_argument("--wandb", action="store_true", help="also make a report on W&B")

    what = "list the techniques: hooks, effect, strength, source, formula tests"
    listing = command("list", "regulo.config.catalog:list_techniques", what, output_required=True)
    listing.add_argument("--markdown", action="store_true", help="print a Markdown table, with the names of the tests")

    schema = command(
        "schema", "regulo.config.json_schema:write_schemas", "write the JSON Schema of the configuration, for editors"
    )
    schema.add_argument("folder", metavar="FOLDER", nargs="?", help="default: .schema")

    new = command("new", "regulo.core.new_project:new_project", "make a project of your own from this checkout")
    new.add_argument("name", metavar="NAME", help='what it is called, for example "leaf disease"')
    new.add_argument("folder", metavar="DIR", help="a new or empty folder")
    new.add_argument("--form", metavar="FORM", default="full", help="full, core (without claims, doctor, ablation) or minimal")
    new.add_argument("--techniques", metavar="NAMES", default="", help="of the minimal form, beside the default ones")
    new.add_argument("--author", metavar="NAME", default="", help="who holds the copyright; default: the name that git knows")

    what = "print a script for completion with the tab key"
    completion = command("completion", "regulo.config.completion:completion", what, COMPLETION, output_required=True)
    completion.add_argument("shell", type=Choice("shell", ("bash", "zsh", "fish")), help="bash, zsh or fish")
    return commands


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command. Returns the exit code: 0 done, 1 failed while running, 2 refused before."""
    name, *words = [*(sys.argv[1:] if arguments is None else arguments)] or ["--help"]
    commands = build_commands()
    if name == "__complete":  # the shell asks, at every press of the tab key
        from regulo.config.completion import print_candidates

        with safe_output(required=True):
            return print_candidates({name: command.parser for name, command in commands.items()}, words)
    printing = name not in commands or commands[name].output_required or not set(HELP).isdisjoint(words)
    with safe_output(required=printing), library_folders():
        try:
            with use_extensions(words) as words:
                for extension in list_extensions():
                    print(one_line(f"regulo: with the extension {extension}"), file=sys.stderr)
                return run(name, words, commands)
        except InputError as refusal:
            n = len(refusal.problems)
            print(f"regulo: {n} problem{'s' * (n > 1)}, nothing was started", file=sys.stderr)
            for problem in refusal.problems:
                print(f"  {problem}", file=sys.stderr)
            return exit_code(refusal)
        except RunError as failure:
            print_error("the run failed: " + one_line(str(failure)), failure)
            return exit_code(failure)
        except KeyboardInterrupt as interrupt:
            print_error("interrupted", interrupt)
            return exit_code(interrupt)


def start() -> NoReturn:
    """The process of a command."""
    run_process(main)


def run(name: str, words: list[str], commands: Mapping[str, Command]) -> int:
    """Call the function of a command, or answer at once. Returns the exit code. Raises InputError."""
    if name in VERSION or (name in commands and not set(VERSION).isdisjoint(words)):
        print(f"regulo {__version__}")
        return 0
    if name in (*HELP, "help"):
        if words and words[0] not in HELP:
            return run(words[0], ["--help", *words[1:]], commands)
        print(usage(commands))
        return 0
    if name not in commands:
        raise InputError(Problem(name, "is not a command", nearest(name, [*commands, "help", "--help", "--version"])))
    command = commands[name]
    if place := next((i for i, word in enumerate(words, 1) if word in HELP), None):
        print_help(name, command, words[place:])
        return 0
    if command.free_form:
        command.parser.check_options(words)
        words = resolve_run_options(words) if name == "train" else words
        return call(command, words)
    if "--data-root" in command.parser.options():  # as `train` calls it
        words = [f"--data-root={word.partition('=')[2]}" if word.startswith("data.root=") else word for word in words]
    if name == "doctor":
        words = attach_file(words)
    return call(command, **command.parser.parse(words))


def call(command: Command, *arguments: Any, **values: Any) -> int:
    """Import the function of a command, and call it. Returns the exit code."""
    ignore_harmless_warnings()
    keep_freed_memory()
    module, _, function = command.function.partition(":")
    return int(getattr(importlib.import_module(module), function)(*arguments, **values))


def attach_file(words: Sequence[str]) -> list[str]:
    """The words of `doctor` with `--fix FILE.yaml` as `--fix=FILE.yaml`, and `--fix` before anything else as `--fix=`."""
    result: list[str] = []
    for word in words:
        if result[-1:] == ["--fix="] and word.endswith((".yaml", ".yml")):
            result[-1] += word
        else:
            result.append("--fix=" if word == "--fix" else word)
    return result


def usage(commands: Mapping[str, Command]) -> str:
    """The commands, one line each."""
    lines = ["usage: regulo COMMAND …   (regulo COMMAND --help explains one)", ""]
    lines.append(definitions((name, command.summary) for name, command in commands.items()))
    return "\n".join([*lines, "", definitions([("--version, -V", "print the version"), ("--help, -h", "print this")])])


def print_help(name: str, command: Command, topics: Sequence[str]) -> None:
    """What a command takes. `train` explains every key of the configuration, or those of the topics."""
    if name != "train":
        print(command.parser.format_help().rstrip())
        return
    from regulo.config.help import explain_keys

    if not topics:
        print(command.parser.format_help())
    print(explain_keys(topics))


def print_error(message: str, error: BaseException) -> None:
    """What has ended the command, and the notes that it carries."""
    for line in (message, *getattr(error, "__notes__", ())):
        print(f"regulo: {line}", file=sys.stderr)


if __name__ == "__main__":
    start()
