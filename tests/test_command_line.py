"""The command line: what each command takes, what is refused, and where the output goes. Nothing here trains for long."""

import ast
import os
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import pytest

from regulo import __version__
from regulo.__main__ import attach_file, build_commands, main
from regulo.core.arguments import ArgumentParser
from regulo.core.errors import InputError
from regulo.core.output import safe_output
from regulo.core.program import PROGRAM
from regulo.core.text import definitions, wrap
from tests.conftest import FAST

SOURCE = Path(__file__).parents[1] / "src" / "regulo"
COMMANDS = build_commands()
PROGRESS = ["callbacks=default", "~callbacks.confusion", "~callbacks.mistakes", "~callbacks.samples"]


def python(code: str, *arguments: str, **settings: Any) -> subprocess.CompletedProcess[str]:
    words = [sys.executable, "-c", code, *arguments]
    return subprocess.run(words, text=True, check=False, stderr=subprocess.PIPE, **{"stdout": subprocess.PIPE} | settings)


# ---- what the commands take


@pytest.mark.parametrize("words", [["-h"], ["--help"], ["help"], []])
def test_help_needs_no_command(words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(words) == 0
    text = capsys.readouterr().out
    assert all(f"  {name} " in text for name in COMMANDS)


@pytest.mark.parametrize("words", [["--version"], ["-V"], ["train", "--version"], ["evaluate", "-V"]])
def test_the_version_is_printed_with_and_without_a_command(words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(words) == 0
    assert capsys.readouterr().out == f"regulo {__version__}\n"


@pytest.mark.parametrize("word", ["--verson", "version"])
def test_the_version_is_offered(word: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([word]) == 2
    assert "did you mean --version" in capsys.readouterr().err


@pytest.mark.parametrize(
    "words",
    [
        ["train", "--resume", "a", "--resume", "b"],
        ["train", "--resume=a", "--resume=b"],
        ["doctor", "--difference=1", "--difference", "2"],
    ],
)
def test_an_option_is_given_once(words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(words) == 2
    assert f"{words[1].partition('=')[0]}: is given 2 times" in capsys.readouterr().err


def test_the_console_script_and_the_module_are_the_same() -> None:
    words = [[str(Path(sys.executable).with_name(PROGRAM))], [sys.executable, "-m", "regulo"]]
    outputs = {subprocess.run([*w, "--help"], capture_output=True, text=True, check=True).stdout for w in words}
    assert len(outputs) == 1


@pytest.mark.parametrize("name", COMMANDS)
def test_every_function_of_a_command_exists_and_takes_what_its_parser_yields(name: str) -> None:
    """Looked up in the source: importing them all takes seconds, and the names in the table are only text."""
    module, _, function = COMMANDS[name].function.partition(":")
    file = SOURCE.joinpath(*module.split(".")[1:]).with_suffix(".py")
    functions = {node.name: node for node in ast.parse(file.read_text()).body if isinstance(node, ast.FunctionDef)}
    parameters = {a.arg for a in functions[function].args.args}
    actions = {action.dest for action in COMMANDS[name].parser._actions} - {"help"}
    assert len(parameters) == 1 if COMMANDS[name].free_form else parameters == actions


HEAVY = ["lightning", "torchvision", "timm", "albumentations", "torchmetrics", "wandb", "matplotlib", "scipy", "sympy", "cv2"]
HEAVY += ["PIL", "torch._dynamo", "torch._inductor", "huggingface_hub"]


def test_what_only_prints_or_refuses_imports_nothing_heavy(tmp_path: Path) -> None:
    code = (
        "import sys; from regulo.__main__ import main\n"
        "for words in ('runs', 'list', 'train optim.lrr=1', 'train --help'):\n"
        "    assert main(words.split()) == 2 * ('lrr' in words)\n"
        "    heavy = {*sys.argv[1:], *['torch', 'numpy'] * (words == 'runs')} & {*sys.modules}\n"
        "    assert not heavy, (words, heavy)"
    )
    process = python(code, *HEAVY, cwd=tmp_path)
    assert process.returncode == 0, process.stderr


def test_help_of_every_command_comes_without_torch_in_either_place() -> None:
    code = (
        "import sys; from regulo.__main__ import build_commands, main\n"
        "for name in build_commands():\n"
        "    if name != 'train':\n"
        "        assert main([name, '-h']) == main([name, 'x', '--help']) == main(['help', name]) == 0\n"
        "assert main(['--version']) == 0\n"
        "assert not {'torch', 'lightning', 'numpy', 'hydra'} & set(sys.modules)"
    )
    process = python(code)
    assert process.returncode == 0, process.stderr
    for name, command in COMMANDS.items():
        assert name == "train" or process.stdout.count(f"usage: regulo {name} ") == 3
        assert all(option in process.stdout for option in command.parser.options() if name != "train")


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["trian"], "trian: is not a command — did you mean train"),
        (["--verison"], "is not a command"),
        (["help", "trian"], "did you mean train"),
        (["list", "--markdwn"], "did you mean --markdown?"),
        (["list", "x"], "regulo list: takes no 'x' — usage: regulo list"),
        (["evaluate"], "required: RUN — usage: regulo evaluate"),
        (["evaluate", "runs/x", "tset"], "did you mean test?"),
        (["evaluate", "runs/x", "test", "val"], "takes no 'val'"),
        (["predict", "runs/x"], "required: PATH"),
        (["predict", "runs/x", "folder", "--top-k", "3"], "--top-k: is not an option of regulo predict — did you mean --top?"),
        (["predict", "runs/x", "folder", "--top-k 3"], "--top-k 3: is not an option of regulo predict"),
        (["predict", "runs/x", "folder", "-k", "3"], "takes no '-k' — usage: regulo predict"),
        (["train", "--resum", "runs/x"], "--resum: is not an option of regulo train — did you mean --resume?"),
        (["train", "--resume"], "--resume: needs the folder of a run"),
        (["train", "--multirun"], "regulo ablate makes many"),
        (["train", "-m"], "regulo ablate makes many"),
        (["ablate", "--resume", "x"], "--resume: is not an option of regulo ablate"),
        (["doctor", "--fxi"], "did you mean --fix?"),
        (["doctor", "--difference"], "--difference"),
        (["claims", "--quik"], "did you mean --quick?"),
        (["completion", "bahs"], "did you mean bash"),
        (["schema", "a", "b"], "takes no 'b'"),
        (["train", "--help", "mixpu"], "mixpu: is no group, option or key — did you mean mixup"),
    ],
)
def test_what_is_refused_names_the_nearest_valid_thing(
    words: list[str], expected: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(words) == 2
    output = capsys.readouterr()
    assert output.out == ""
    assert output.err.startswith("regulo: 1 problem, nothing was started\n  ")
    assert expected in output.err


def test_values_that_begin_with_a_dash_are_values(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["train", "optim.lr=-1", "+regularizer=sam", "~regularizer.mixup"]) == 2
    assert "optim.lr: -1 should be greater than 0" in capsys.readouterr().err
    parse = COMMANDS["doctor"].parser.parse
    assert parse(["optim.lr=-1", "--difference=2", "~regularizer.mixup"])["words"] == ["optim.lr=-1", "~regularizer.mixup"]


def test_options_may_stand_anywhere_and_fix_takes_only_a_yaml() -> None:
    parse = COMMANDS["doctor"].parser.parse
    for words, fix in (
        (["--fix", "seed=1", "model=vit_tiny"], ""),
        (["seed=1", "--fix", "x.yaml", "model=vit_tiny"], "x.yaml"),
        (["seed=1", "model=vit_tiny", "--fix=some/x"], "some/x"),
        (["seed=1", "model=vit_tiny"], None),
    ):
        assert parse(attach_file(words)) == {"words": ["seed=1", "model=vit_tiny"], "fix": fix, "difference": None}


def test_an_option_is_not_abbreviated() -> None:
    parser = ArgumentParser(prog="regulo x")
    parser.add_argument("--markdown", action="store_true")
    with pytest.raises(InputError, match="did you mean --markdown"):
        parser.parse(["--mark"])


# ---- text that fits


def test_lines_are_wrapped_below_their_meaning_and_no_word_is_split() -> None:
    line = "  key=value  " + "word " * 12 + "test_a_name_that_is_longer_than_the_line"
    first, *others = wrap(line, 30).splitlines()
    assert first.startswith("  key=value  word")
    assert all(other.startswith(" " * 13) for other in others)
    assert " ".join(wrap(line, 30).split()) == " ".join(line.split())
    assert max(len(text) for text in wrap(line, 30).splitlines() if "test_" not in text) <= 30
    assert wrap("short  line", 30) == "short  line"
    assert definitions([("a", "x"), ("long", "y")], 30) == "  a     x\n  long  y"


def test_a_term_that_leaves_no_room_for_its_meaning_has_a_line_of_its_own() -> None:
    lines = wrap(f"{'t' * 40}  some meaning that is longer than the line", 42).splitlines()
    assert lines[0] == "t" * 40
    assert all(line.startswith(" " * 21) for line in lines[1:])


# ---- output that nobody reads, or that cannot be written

WORK = """
import sys
from pathlib import Path
from regulo.core.output import safe_output
with safe_output(required=sys.argv[1] == "required"):
    for i in range(int(sys.argv[2])):
        print("\\u2192 a line", i)
    Path(sys.argv[3]).touch()
"""


def open_closed_pipe() -> int:
    """The end of a pipe that nobody reads."""
    reader, writer = os.pipe()
    os.close(reader)
    return writer


@pytest.mark.parametrize("lines", [1, 100_000], ids=["at the end", "in between"])
@pytest.mark.parametrize(("kind", "code"), [("required", 141), ("optional", 0)])
@pytest.mark.parametrize("unbuffered_flag", ["", "1"])
def test_a_closed_pipe_is_quiet(kind: str, code: int, lines: int, unbuffered_flag: str, tmp_path: Path) -> None:
    writer = open_closed_pipe()
    environment = os.environ | {"PYTHONUNBUFFERED": unbuffered_flag}
    process = python(WORK, kind, str(lines), str(tmp_path / "done"), stdout=writer, env=environment)
    os.close(writer)
    assert (process.returncode, process.stderr) == (code, "")
    assert (tmp_path / "done").exists() is (kind == "optional" or (lines == 1 and not unbuffered_flag))


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="Linux has it")
@pytest.mark.parametrize(("kind", "code"), [("required", 1), ("optional", 0)])
def test_output_that_is_lost_is_reported_once(kind: str, code: int, tmp_path: Path) -> None:
    with open("/dev/full", "w") as full:
        process = python(WORK, kind, "100000", str(tmp_path / "done"), stdout=full)
    assert (process.returncode, process.stderr) == (code, "regulo: cannot write the output: No space left on device\n")
    assert (tmp_path / "done").exists() is (kind == "optional")


@pytest.mark.parametrize(
    "settings", [{"PYTHONIOENCODING": "ascii"}, {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}, {"LANG": "C"}]
)
def test_an_encoding_that_lacks_a_letter_is_no_error(settings: dict[str, str], tmp_path: Path) -> None:
    environment = {k: v for k, v in os.environ.items() if k not in ("LC_ALL", "LANG", "PYTHONIOENCODING", "PYTHONUTF8")}
    process = python(WORK, "required", "1", str(tmp_path / "done"), env=environment | settings)
    assert (process.returncode, process.stderr) == (0, "")
    assert process.stdout in ("→ a line 0\n", "\\u2192 a line 0\n")
    assert ("\\u2192" in process.stdout) is ("LANG" not in settings)


def use_as_stdout(file: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdout", file)
    monkeypatch.setattr(sys, "__stdout__", file)


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="Linux has it")
def test_output_that_is_lost_below_a_progress_bar_ends_nothing(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    """A bar of rich leads sys.stderr to standard output, so a message from within a write would write again."""
    with open("/dev/full", "w") as full:
        use_as_stdout(full, monkeypatch)
        with safe_output(required=False):
            monkeypatch.setattr(sys, "stderr", sys.stdout)
            print("a line", flush=True)
            print("another", flush=True)
    assert capfd.readouterr().err == "regulo: cannot write the output: No space left on device\n"


@pytest.mark.parametrize("required", [True, False])
def test_a_terminal_that_is_closed_is_like_a_closed_pipe(
    required: bool, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    master, terminal = os.openpty()
    os.close(master)
    with open(terminal, "w") as stdout:
        use_as_stdout(stdout, monkeypatch)
        with safe_output(required=required):
            if required:
                with pytest.raises(SystemExit, match="141"):
                    print("a line", flush=True)
            else:
                print("a line", flush=True)
    assert capfd.readouterr().err == ""


def test_a_slow_reader_gets_everything_from_a_pipe_that_does_not_block(monkeypatch: pytest.MonkeyPatch) -> None:
    reader, writer = os.pipe()
    os.set_blocking(writer, False)
    parts: list[bytes] = []

    def read() -> None:
        time.sleep(0.2)  # until the pipe is full
        while part := os.read(reader, 65536):
            parts.append(part)

    thread = threading.Thread(target=read)
    thread.start()
    with open(writer, "w") as stdout:
        use_as_stdout(stdout, monkeypatch)
        with safe_output(required=False):
            print("x" * 1_000_000, flush=True)
    thread.join()
    os.close(reader)
    assert b"".join(parts) == b"x" * 1_000_000 + b"\n"


def test_completion_is_quiet_when_nobody_reads_it(monkeypatch: pytest.MonkeyPatch) -> None:
    with open(open_closed_pipe(), "w") as stdout:
        use_as_stdout(stdout, monkeypatch)
        with pytest.raises(SystemExit, match="141"):
            main(["__complete", "bash", "regulo tra"])


def test_messages_on_standard_error_come_before_what_is_printed_after_them() -> None:
    code = (
        "import sys; from regulo.core.output import safe_output\n"
        "with safe_output(required=True):\n"
        "    print('first', file=sys.stderr); print('second', flush=True)"
    )
    process = subprocess.run(
        [sys.executable, "-c", code], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=True
    )
    assert process.stdout == "first\nsecond\n"


def test_streams_that_somebody_else_has_replaced_are_left_alone(capsys: pytest.CaptureFixture[str]) -> None:
    before = sys.stdout
    assert main(["--version"]) == 0
    assert sys.stdout is before
    assert capsys.readouterr().out


def test_printing_commands_end_and_training_goes_on_when_standard_output_is_closed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for words, ends in ((["list"], True), (["train", *FAST, *PROGRESS, f"run_dir={tmp_path / 'run'}"], False)):
        with monkeypatch.context() as patch, open(open_closed_pipe(), "w") as stdout:
            patch.setattr(sys, "stdout", stdout)
            patch.setattr(sys, "__stdout__", stdout)
            if ends:
                with pytest.raises(SystemExit) as exit_error:
                    main(words)
                assert exit_error.value.code == 141
            else:
                assert main(words) == 0
            assert sys.stdout is stdout
    assert '"status": "done"' in (tmp_path / "run" / "result.json").read_text()
