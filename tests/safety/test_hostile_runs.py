"""A run folder, checkpoint, study or command from a stranger: no code in it is run, and no path leads out of its folder."""

import json
import os
import re
import shlex
import subprocess
import zipfile
from pathlib import Path
from typing import Any

import markupsafe
import pytest
import torch
import yaml

import regulo
from regulo.core import safe_io, yaml_files
from regulo.core.errors import InputError
from regulo.tracking import checkpoint_io
from tests.conftest import FinishedRun
from tests.safety.conftest import assert_refused, run_command

SECRET = "root:x:0:0:the secret"


class Payload:
    """Touches a file when it is unpickled by a reader that runs code."""

    def __init__(self, target: Path) -> None:
        self.target = target

    def __reduce__(self) -> Any:
        return (Path.touch, (self.target,))


def rewrite_archive(source: Path, target: Path, compression: int = zipfile.ZIP_STORED, **members: bytes) -> None:
    """Copy a checkpoint's archive; a member in `members` (the last part of its name, with _ for .) gets that content."""
    with zipfile.ZipFile(source) as old, zipfile.ZipFile(target, "w", compression) as new:
        for name in old.namelist():
            new.writestr(name, members.get(name.rpartition("/")[2].replace(".", "_"), old.read(name)))


def write_hostile_checkpoint(kind: str, file: Path, trap: Path) -> None:
    """Replace a valid checkpoint by a hostile one."""
    valid = file.with_name("valid.ckpt")
    file.replace(valid)
    content = torch.load(valid, weights_only=True)
    if kind == "payload":
        torch.save(content | {"state_dict": Payload(trap)}, file)
    elif kind == "nested payload":
        torch.save(content | {"callbacks": {"a": [{"b": (1, Payload(trap))}]}}, file)
    elif kind == "bare pickle":
        import pickle

        file.write_bytes(pickle.dumps(Payload(trap)))
    elif kind == "old format":
        torch.save(content | {"callbacks": Payload(trap)}, file, _use_new_zipfile_serialization=False)
    elif kind == "pickle in a zip":
        import pickle

        rewrite_archive(valid, file, data_pkl=pickle.dumps(Payload(trap)))
    elif kind == "compressed":
        rewrite_archive(valid, file, zipfile.ZIP_DEFLATED)
    elif kind == "10 GB claimed":
        torch.save({"x": torch.zeros(4)}, file)
        with zipfile.ZipFile(file) as archive:
            data = archive.read(next(n for n in archive.namelist() if n.endswith("data.pkl")))
        size = b"\x8a\x05" + (10 * 2**30 // 4).to_bytes(5, "little")
        assert b"K\x04tq\x07Q" in data
        small = file.with_name("small.ckpt")
        file.replace(small)
        rewrite_archive(small, file, data_pkl=data.replace(b"K\x04tq\x07Q", size + b"tq\x07Q"))
    elif kind == "torn":
        file.write_bytes(valid.read_bytes()[:-1000])
    elif kind == "empty":
        file.write_bytes(b"")
    elif kind == "not of Regulo":
        torch.save({"state_dict": {}}, file)
    elif kind == "other types":
        torch.save(content | {"epoch": "1", "regulo": {"facts": [1], "config": None}}, file)
    elif kind == "huge image":
        content["regulo"]["facts"] |= {"height": 10**9, "width": 10**9}
        torch.save(content, file)
    elif kind == "other weights":
        torch.save(content | {"state_dict": {"classifier.model.x": torch.zeros(1)}}, file)
    elif kind == "weights of strings":
        torch.save(content | {"state_dict": dict.fromkeys(content["state_dict"], "x")}, file)
    else:
        raise AssertionError(kind)


CHECKPOINTS = ["payload", "nested payload", "bare pickle", "old format", "pickle in a zip", "compressed", "10 GB claimed", "torn"]
CHECKPOINTS += ["empty", "not of Regulo", "other types", "huge image", "other weights", "weights of strings"]


@pytest.mark.parametrize("kind", CHECKPOINTS)
def test_a_hostile_checkpoint_is_refused_and_runs_nothing(kind: str, run_copy: Path, tmp_path: Path) -> None:
    trap = tmp_path / "owned"
    for name in ("best", "last"):
        write_hostile_checkpoint(kind, run_copy / "checkpoints" / f"{name}.ckpt", trap)
    assert_refused(["evaluate", str(run_copy)], "RUN")
    assert not trap.exists()


def test_the_payload_of_these_tests_does_run_where_code_is_allowed(tmp_path: Path) -> None:
    torch.save(Payload(tmp_path / "owned"), tmp_path / "x.pt")
    torch.load(tmp_path / "x.pt", weights_only=False)
    assert (tmp_path / "owned").exists(), "otherwise the tests above would show nothing"


LAUGHS = "a: &a [x,x,x,x,x,x,x,x,x]\n" + "".join(
    f"{b}: &{b} [{','.join([f'*{a}'] * 9)}]\n" for a, b in zip("abcdefgh", "bcdefghi", strict=True)
)
YAMLS = {
    "code": "!!python/object/apply:os.system ['touch owned']\n",
    "code in a value": "seed: !!python/object/new:os.system ['touch owned']\n",
    "a module": "seed: !!python/module:os\n",
    "billion laughs": LAUGHS,
    "merge": "a: &a {b: 1}\nseed: {<<: *a}\n",
    "deep": "[" * 5000,
    "deep mapping": "".join(" " * i + "a:\n" for i in range(1500)),
    "long": "a: " + "x" * (2 << 20),
    "a list": "- 1\n",
    "no text": "\x00\x01",
}


@pytest.mark.parametrize("kind", YAMLS)
def test_a_hostile_yaml_is_refused_and_runs_nothing(
    kind: str, run_copy: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (run_copy / "config.yaml").write_text(YAMLS[kind])
    (tmp_path / "study.yaml").write_text(YAMLS[kind])
    for words in (["evaluate", str(run_copy)], ["report", str(run_copy)], ["doctor", str(run_copy)]):
        assert_refused(words, "config.yaml")
    assert_refused(["ablate", "study=study.yaml"], "study")
    assert not (tmp_path / "owned").exists()


def test_a_saved_value_that_is_wrong_is_named_with_its_file(run_copy: Path) -> None:
    config = (run_copy / "config.yaml").read_text()
    (run_copy / "config.yaml").write_text(re.sub(r"^seed: \d+$", "seed: 2026-13-41", config, flags=re.MULTILINE))
    for words in (["evaluate", str(run_copy)], ["doctor", str(run_copy)]):
        assert_refused(words, "seed")
    assert str(run_copy / "config.yaml") in assert_refused(["evaluate", str(run_copy)], "2026-13-41")


@pytest.mark.parametrize("value", ["${oc.env:FOO_TOKEN}", "${oc.env:FOO_TOKEN,x}", "${${a}:FOO_TOKEN}", "a${oc.env:FOO_TOKEN}b"])
def test_no_configuration_reads_the_environment(
    value: str, run_copy: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import shutil

    monkeypatch.setenv("FOO_TOKEN", "planted")
    stderr = assert_refused(["train", f"logger.project='{value}'", f"run_dir={tmp_path / 'new'}"], "logger.project")
    shutil.copytree(yaml_files.config_dir(), tmp_path / "configs")
    monkeypatch.setattr(yaml_files, "config_dir", lambda: tmp_path / "configs")
    text = f"# @package _global_\nlogger:\n  tags: ['{value}']\n"
    (tmp_path / "configs" / "experiment" / "theirs.yaml").write_text(text)
    stderr += assert_refused(["train", "experiment=theirs"], "logger.tags")
    assert "planted" not in stderr
    config = yaml.safe_load((run_copy / "config.yaml").read_text())
    config["logger"]["project"] = value
    (run_copy / "config.yaml").write_text(yaml.safe_dump(config))
    code, out, err = run_command(
        ["doctor", str(run_copy)]
    )  # a saved configuration is plain data: the value is only a strange name
    assert code in (0, 2)
    assert "planted" not in out + err


def test_no_configuration_names_code(run_copy: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for word in (
        "model._target_=os.system",
        "+_target_=os.system",
        "data={_target_:os.system,command:'touch owned'}",
        "model.name=os",
    ):
        assert_refused(["train", word])
    config = yaml.safe_load((run_copy / "config.yaml").read_text())
    for change in (
        {"model": {"_target_": "os.system"}},
        {"data": {"name": "../../x"}},
        {"optim": {"name": "os"}},
        {"_target_": "x"},
    ):
        (run_copy / "config.yaml").write_text(yaml.safe_dump(config | change))
        assert_refused(["evaluate", str(run_copy)])
    assert not (tmp_path / "owned").exists()


# ---- paths


LINKS = ["config.yaml", "result.json", "plan.json", "metrics.csv", "measures.json", "calibration.json", "checkpoints/best.ckpt"]
LINKS += ["checkpoints", "figures", "figures/samples.png", "wandb", "wandb/run-x", "report.html", "report.html.part"]


@pytest.mark.parametrize("name", LINKS)
def test_a_link_out_of_a_run_folder_is_refused_before_it_is_followed(name: str, run_copy: Path, tmp_path: Path) -> None:
    import shutil

    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "passwd").write_text(SECRET)
    path = run_copy / name
    if path.is_dir():
        shutil.rmtree(path)
    path.unlink(missing_ok=True)
    path.parent.mkdir(exist_ok=True)
    path.symlink_to(outside if name in ("checkpoints", "figures", "wandb", "wandb/run-x") else outside / "passwd")
    for words in (
        ["evaluate", str(run_copy)],
        ["report", str(run_copy)],
        ["doctor", str(run_copy)],
        ["dashboard", str(run_copy)],
    ):
        assert SECRET not in assert_refused(words, name.partition("/")[0])
    assert not (run_copy / "report.html").is_file() or name == "report.html"
    assert (outside / "passwd").read_text() == SECRET


def test_a_pipe_is_refused_without_waiting(run_copy: Path) -> None:
    (run_copy / "metrics.csv").unlink()
    os.mkfifo(run_copy / "metrics.csv")
    assert_refused(["report", str(run_copy)], "metrics.csv")
    with pytest.raises(InputError, match="regular"):
        safe_io.read_text(run_copy / "metrics.csv")


def test_a_study_names_no_folder_but_its_own(tmp_path: Path) -> None:
    from tests.report import studies

    folder = studies.make(tmp_path / "study")
    content = json.loads((folder / "study.json").read_text())
    for name in ("../../outside", "..", "/etc", "a/b", ""):
        content["cells"][1]["runs"][0]["folder"] = name
        (folder / "study.json").write_text(json.dumps(content))
        assert_refused(["report", str(folder)], "STUDY")


def test_nothing_is_written_to_the_folders_that_a_run_names(
    run_copy: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`run_dir` of a saved run is not used. `data.root` is read and reported; nothing is downloaded into it."""
    import regulo.data.base

    config = yaml.safe_load((run_copy / "config.yaml").read_text())
    config["run_dir"] = str(tmp_path / "theirs")
    (run_copy / "config.yaml").write_text(yaml.safe_dump(config))
    assert run_command(["evaluate", str(run_copy)])[0] == 0
    assert not (tmp_path / "theirs").exists()
    target = tmp_path / "bashrc.d"
    target.mkdir()
    config["data"] = {"name": "cifar10", "root": str(target)}
    (run_copy / "config.yaml").write_text(yaml.safe_dump(config))
    permissions: list[bool] = []
    original = regulo.data.base.may_download
    monkeypatch.setattr("regulo.data.cifar10.may_download", lambda: permissions.append(original()) or permissions[-1])
    assert_refused(["evaluate", str(run_copy)], "data.root")
    assert permissions == [False]
    assert not list(target.iterdir())


# ---- text that is shown in a page, a terminal or a shell


TAGS = ["<script>alert(1)</script>", '"><img src=x onerror=alert(1)>', "</style><svg onload=alert(1)>", "&lt;", "\x1b[2J"]


@pytest.mark.parametrize("tag", TAGS)
def test_a_page_escapes_all_text_of_a_run(tag: str, run_copy: Path) -> None:
    config = yaml.safe_load((run_copy / "config.yaml").read_text())
    config["logger"] |= {"project": tag, "tags": [tag]}
    config["name"] = tag  # not valid: the page reports it, and is made anyway
    (run_copy / "config.yaml").write_text(yaml.safe_dump(config))
    plan = json.loads((run_copy / "plan.json").read_text())
    plan["regularizers"] = [dict.fromkeys(row, tag) for row in plan["regularizers"]]
    (run_copy / "plan.json").write_text(json.dumps(plan))
    (run_copy / "result.json").write_text(json.dumps({"status": "failed", "error": tag, "error_type": tag}))
    assert run_command(["report", str(run_copy)])[0] == 0
    page = (run_copy / "report.html").read_text()
    assert tag not in page
    assert str(markupsafe.escape(tag)).replace("\x1b", "\ufffd") in page, "it is shown as text"


@pytest.mark.parametrize("tag", TAGS)
def test_a_page_escapes_all_text_of_a_study(tag: str, tmp_path: Path) -> None:
    from tests.report import studies

    folder = studies.make(tmp_path / "study")
    content = json.loads((folder / "study.json").read_text())
    content |= dict.fromkeys(("title", "command", "date", "hardware", "method", "name"), tag) | {"stale": [tag]}
    content["cells"][1] |= {"label": tag, "overrides": [tag], "techniques": [tag]}
    content["cells"][1]["runs"][0] |= {"status": "failed", "error": tag}
    content["columns"][2] |= {"label": tag, "unit": tag}
    (folder / "study.json").write_text(json.dumps(content))
    assert run_command(["report", str(folder)])[0] == 0
    assert tag not in (folder / "report.html").read_text()


def test_control_characters_are_escaped_in_messages(tmp_path: Path) -> None:
    stderr = assert_refused(["report", str(tmp_path / "\x1b[2J\x07\r\n")])
    assert "\x1b" not in stderr
    assert "\\x1b[2J" in stderr


@pytest.mark.parametrize(
    "root", ["/x$(touch owned)", "/x`touch owned`", "/x'; touch owned; '", '/x"; touch owned; "', "/x$$(touch owned)"]
)
def test_a_command_that_is_shown_runs_nothing_else_when_it_is_copied(
    root: str, run_copy: Path, tmp_path: Path, capsys: Any
) -> None:
    """A real shell runs the line, with a Makefile like ours."""
    from regulo.analysis.doctor.verdict import give_verdict
    from regulo.analysis.report import repeat

    config = yaml.safe_load((run_copy / "config.yaml").read_text())
    config["data"]["root"] = root
    (run_copy / "config.yaml").write_text(yaml.safe_dump(config))
    from regulo.tracking.run_dir import RunFolder

    commands = [repeat.command(config), *give_verdict(RunFolder.open(run_copy)).next]
    work = tmp_path / "work"
    work.mkdir()
    (work / "Makefile").write_text("train:\n\t@printf '%s\\n' $(ARGS)\n")
    assert len(commands) > 1
    for line in commands:
        process = subprocess.run(["sh", "-c", line], cwd=work, capture_output=True, text=True, check=True)
        assert any(word.startswith("data.root=") for word in process.stdout.splitlines())
        assert [p.name for p in work.iterdir()] == ["Makefile"], line
        assert shlex.split(line)[:2] == ["make", "train"]


def test_a_line_end_in_a_configuration_is_refused() -> None:
    """It would start a new line in a log, a command or a YAML comment."""
    for value in ("/x\ntouch owned", "/x\x1b[2J", "/x\0"):
        assert_refused(["train", f"data.root={value}"])


@pytest.mark.parametrize("name", ["../../x", "/tmp/x", "a/b", "", "<script>", "a\nb", "a\0b", "x" * 101, "$(x)"])
def test_a_run_has_no_name_that_is_a_path_or_a_tag(name: str) -> None:
    assert_refused(["train", f"name='{name}'"])


@pytest.mark.parametrize(
    "word", ["experiment=../../x", "study=../../x", "study=/etc/passwd", "model=/etc/passwd", "regularizer=[../x]"]
)
def test_no_option_of_a_group_is_a_path(word: str) -> None:
    assert_refused(["ablate" if word.startswith("study") else "train", word], word.partition("=")[0])


# ---- the source itself


def test_the_source_has_no_reader_that_runs_code() -> None:
    """No line of the source uses a function that can run code from data."""
    source = Path(regulo.__file__).parent
    forbidden = re.compile(
        r"torch\.load\((?!.*weights_only=True)|pickle\.loads?\("
        r"|\byaml\.(unsafe_load|full_load|load_all|load\((?!.*, (PlainLoader|yaml\.BaseLoader)\)))"
        r"|(?<![.\w])(eval|exec)\(|_target_|instantiate\(|shell=True|os\.(system|popen|exec\w*)\(|extractall\(|unpack_archive\("
        r"|np\.load\(|joblib|marshal|shelve|__import__\("
    )
    matches = [
        f"{file.relative_to(source)}:{number}: {line.strip()}"
        for file in sorted(source.rglob("*.py"))
        for number, line in enumerate(file.read_text(encoding="utf-8").splitlines(), 1)
        if forbidden.search(line)
    ]
    assert len(list(source.rglob("*.py"))) > 100, "the whole package is searched"
    assert not matches, "\n".join(matches)


def test_a_valid_checkpoint_is_accepted(finished_run: FinishedRun) -> None:
    files = list((finished_run.folder / "checkpoints").iterdir())
    assert len(files) >= 2
    for file in files:
        assert "state_dict" in checkpoint_io.read_checkpoint(file)


def test_wandbs_logs_are_not_removed_through_a_link(tmp_path: Path) -> None:
    from regulo.tracking.wandb_files import remove_local_paths

    (tmp_path / "outside" / "logs").mkdir(parents=True)
    (tmp_path / "wandb").mkdir()
    (tmp_path / "wandb" / "run-x").symlink_to(tmp_path / "outside")
    with remove_local_paths(tmp_path / "wandb"):
        pass
    assert (tmp_path / "outside" / "logs").is_dir()
