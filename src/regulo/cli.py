"""`regulo <command>`: one function per command, imported when it is asked for."""

import importlib
import sys
import warnings
from collections.abc import Sequence

from regulo.errors import Failed, Problem, Refused, exit_code, nearest, one_line

COMMANDS = {
    "train": (
        "regulo.train",
        "train",
        "[--resume RUN] [override …]",
        "train, restore the best weights, test",
    ),
    "evaluate": ("regulo.evaluate", "evaluate", "RUN [split]", "score a run again, from its folder alone"),
    "predict": ("regulo.predict", "predict", "RUN PATH …", "the classes of image files, as CSV"),
    "dashboard": ("regulo.dashboard", "dashboard", "[RUN]", "show runs in the terminal (W&B's local viewer)"),
    "claims": (
        "regulo.claims.lab.command",
        "claims",
        "[name …] [--quick] [--docs]",
        "try the lesson's claims, with verdicts",
    ),
    "ablate": (
        "regulo.ablate.command",
        "ablate",
        "[study=NAME|FILE] [override …]",
        "which technique helps, and by how much",
    ),
    "doctor": (
        "regulo.doctor.command",
        "doctor",
        "[override … | RUN …] [--fix [FILE]]",
        "what is risky in a run, and what its curves say",
    ),
    "report": ("regulo.report.command", "report", "[RUN … | STUDY] [--wandb]", "a page that explains a run or a study"),
    "list": ("regulo.techniques", "list_techniques", "[--markdown]", "the techniques: hook, strength, source, formula test"),
    "schema": ("regulo.schema", "schema", "[FOLDER]", "write the configuration's JSON Schema, for editors"),
}


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command. Returns the exit code: 0 done, 1 failed while running, 2 refused before."""
    words = list(sys.argv[1:] if arguments is None else arguments)
    if not words or words[0] in ("-h", "--help", "help"):
        print(usage())
        return 0
    command, *rest = words
    quiet()
    try:
        if command not in COMMANDS:
            raise Refused(Problem(command, "is not a command", nearest(command, COMMANDS)))
        module, function, *_ = COMMANDS[command]
        if any(word in ("-h", "--help") for word in rest):
            from regulo.help import explain

            print(explain(command))
            return 0
        return getattr(importlib.import_module(module), function)(rest)
    except Refused as refusal:
        n = len(refusal.problems)
        print(f"regulo: {n} problem{'s' * (n > 1)}, nothing was started", file=sys.stderr)
        for problem in refusal.problems:
            print(f"  {problem}", file=sys.stderr)
        return exit_code(refusal)
    except Failed as failure:
        _say("the run failed: " + one_line(str(failure)), failure)
        return exit_code(failure)
    except KeyboardInterrupt as interrupt:
        _say("interrupted", interrupt)
        return exit_code(interrupt)


def _say(what: str, error: BaseException) -> None:
    """What has ended the command, and the notes that it carries."""
    for line in (what, *getattr(error, "__notes__", ())):
        print(f"regulo: {line}", file=sys.stderr)


def quiet() -> None:
    """Let what Regulo says be heard: libraries do not speak of what is known and harmless."""
    for known in HARMLESS:
        warnings.filterwarnings("ignore", message=known)


HARMLESS = (
    "Experiment logs directory .* exists and is not empty",  # the run folder holds config.yaml first
    ".*isinstance\\(treespec, LeafSpec\\)` is deprecated",  # lightning 2.6 on torch 2.15
    "The '.*' does not have many workers",  # num_workers is chosen
    "Checkpoint directory .* exists and is not empty",  # a run that goes on
    "You're resuming from a checkpoint that ended before the epoch ended",  # the sampler begins where it did
    "The number of training batches .* is smaller than the logging interval",  # the last batch is always a log point
    "It is recommended to use `self.log.*sync_dist=True",  # what is logged has been added up over all ranks
    "Grad strides do not match bucket view strides",  # of 1 × 1 convolutions, whose strides say nothing
)


def usage() -> str:
    """The commands, one line each."""
    lines = ["usage: regulo COMMAND …   (regulo COMMAND --help explains one)", ""]
    lines += [f"  {name:10} {arguments:36} {what}" for name, (_, _, arguments, what) in COMMANDS.items()]
    return "\n".join(lines)
