"""A run folder, a checkpoint, a study or a command that a stranger sent: nothing of it is run, nothing leads out of it."""

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

from regulo.core import safe_io, yaml_files
from regulo.core.errors import InputError
from regulo.tracking import checkpoint_io
from tests.conftest import FinishedRun
from tests.safety.conftest import answer, refused

SECRET = "root:x:0:0:the secret"


class Payload:
    """Touches a file when it is unpickled by a reader that runs code."""

    def __init__(self, target: Path) -> None:
        self.target = target

    def __reduce__(self) -> Any:
        return (Path.touch, (self.target,))


def rezipped(source: Path, target: Path, compression: int = zipfile.ZIP_STORED, **changed: bytes) -> None:
    """A checkpoint's archive again; members are changed by the last part of their name."""
    with zipfile.ZipFile(source) as old, zipfile.ZipFile(target, "w", compression) as new:
        for name in old.namelist():
            new.writestr(name, changed.get(name.rpartition("/")[2].replace(".", "_"), old.read(name)))


def hostile(kind: str, file: Path, owned: Path) -> None:
    """Put a hostile checkpoint in the place of a sound one."""
    sound = file.with_name("sound.ckpt")
    file.replace(sound)
    whole = torch.load(sound, weights_only=True)
    if kind == "payload":
        torch.save(whole | {"state_dict": Payload(owned)}, file)
    elif kind == "nested payload":
        torch.save(whole | {"callbacks": {"a": [{"b": (1, Payload(owned))}]}}, file)
    elif kind == "bare pickle":
        import pickle

        file.write_bytes(pickle.dumps(Payload(owned)))
    elif kind == "old format":
        torch.save(whole | {"callbacks": Payload(owned)}, file, _use_new_zipfile_serialization=False)
    elif kind == "pickle in a zip":
        import pickle

        rezipped(sound, file, data_pkl=pickle.dumps(Payload(owned)))
    elif kind == "compressed":
        rezipped(sound, file, zipfile.ZIP_DEFLATED)
    elif kind == "10 GB claimed":
        torch.save({"x": torch.zeros(4)}, file)
        with zipfile.ZipFile(file) as archive:
            data = archive.read(next(n for n in archive.namelist() if n.endswith("data.pkl")))
        claim = b"\x8a\x05" + (10 * 2**30 // 4).to_bytes(5, "little")
        assert b"K\x04tq\x07Q" in data
        small = file.with_name("small.ckpt")
        file.replace(small)
        rezipped(small, file, data_pkl=data.replace(b"K\x04tq\x07Q", claim + b"tq\x07Q"))
    elif kind == "torn":
        file.write_bytes(sound.read_bytes()[:-1000])
    elif kind == "empty":
        file.write_bytes(b"")
    elif kind == "not of Regulo":
        torch.save({"state_dict": {}}, file)
    elif kind == "other types":
        torch.save(whole | {"epoch": "1", "regulo": {"facts": [1], "config": None}}, file)
    elif kind == "huge image":
        whole["regulo"]["facts"] |= {"height": 10**9, "width": 10**9}
        torch.save(whole, file)
    elif kind == "other weights":
        torch.save(whole | {"state_dict": {"classifier.model.x": torch.zeros(1)}}, file)
    elif kind == "weights of strings":
        torch.save(whole | {"state_dict": dict.fromkeys(whole["state_dict"], "x")}, file)
    else:
        raise AssertionError(kind)


CHECKPOINTS = ["payload", "nested payload", "bare pickle", "old format", "pickle in a zip", "compressed", "10 GB claimed", "torn"]
CHECKPOINTS += ["empty", "not of Regulo", "other types", "huge image", "other weights", "weights of strings"]


@pytest.mark.parametrize("kind", CHECKPOINTS)
def test_a_hostile_checkpoint_is_refused_and_runs_nothing(kind: str, run_copy: Path, tmp_path: Path) -> None:
    owned = tmp_path / "owned"
    for name in ("best", "last"):
        hostile(kind, run_copy / "checkpoints" / f"{name}.ckpt", owned)
    refused(["evaluate", str(run_copy)], "RUN")
    assert not owned.exists()


def test_the_payload_of_these_tests_does_run_where_code_is_allowed(tmp_path: Path) -> None:
    torch.save(Payload(tmp_path / "owned"), tmp_path / "x.pt")
    torch.load(tmp_path / "x.pt", weights_only=False)
    assert (tmp_path / "owned").exists(), "or the tests above would show nothing"


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
    "month 13": "seed: 2026-13-41\n",
}


@pytest.mark.parametrize("kind", YAMLS)
def test_a_hostile_yaml_is_refused_and_runs_nothing(
    kind: str, run_copy: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (run_copy / "config.yaml").write_text(YAMLS[kind])
    (tmp_path / "study.yaml").write_text(YAMLS[kind])
    for words in (["evaluate", str(run_copy)], ["report", str(run_copy)], ["doctor", str(run_copy)]):
        refused(words, "config.yaml")
    refused(["ablate", "study=study.yaml"], "study")
    assert not (tmp_path / "owned").exists()


@pytest.mark.parametrize("value", ["${oc.env:FOO_TOKEN}", "${oc.env:FOO_TOKEN,x}", "${${a}:FOO_TOKEN}", "a${oc.env:FOO_TOKEN}b"])
def test_no_configuration_reads_the_environment(
    value: str, run_copy: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import shutil

    monkeypatch.setenv("FOO_TOKEN", "planted")
    said = refused(["train", f"logger.project='{value}'", f"run_dir={tmp_path / 'new'}"], "logger.project")
    shutil.copytree(yaml_files.config_dir(), tmp_path / "configs")
    monkeypatch.setattr(yaml_files, "config_dir", lambda: tmp_path / "configs")
    text = f"# @package _global_\nlogger:\n  tags: ['{value}']\n"
    (tmp_path / "configs" / "experiment" / "theirs.yaml").write_text(text)
    said += refused(["train", "experiment=theirs"], "logger.tags")
    assert "planted" not in said
    saved = yaml.safe_load((run_copy / "config.yaml").read_text())
    saved["logger"]["project"] = value
    (run_copy / "config.yaml").write_text(yaml.safe_dump(saved))
    code, out, err = answer(["doctor", str(run_copy)])  # a saved configuration is plain data: it is a strange name, no more
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
        refused(["train", word])
    saved = yaml.safe_load((run_copy / "config.yaml").read_text())
    for change in (
        {"model": {"_target_": "os.system"}},
        {"data": {"name": "../../x"}},
        {"optim": {"name": "os"}},
        {"_target_": "x"},
    ):
        (run_copy / "config.yaml").write_text(yaml.safe_dump(saved | change))
        refused(["evaluate", str(run_copy)])
    assert not (tmp_path / "owned").exists()


# ---- paths


OUTWARD = ["config.yaml", "result.json", "plan.json", "metrics.csv", "measures.json", "calibration.json", "checkpoints/best.ckpt"]
OUTWARD += ["checkpoints", "figures", "figures/samples.png", "wandb", "wandb/run-x", "report.html", "report.html.part"]


@pytest.mark.parametrize("name", OUTWARD)
def test_a_link_out_of_a_run_folder_is_refused_before_it_is_followed(name: str, run_copy: Path, tmp_path: Path) -> None:
    import shutil

    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "passwd").write_text(SECRET)
    place = run_copy / name
    if place.is_dir():
        shutil.rmtree(place)
    place.unlink(missing_ok=True)
    place.parent.mkdir(exist_ok=True)
    place.symlink_to(outside if name in ("checkpoints", "figures", "wandb", "wandb/run-x") else outside / "passwd")
    for words in (
        ["evaluate", str(run_copy)],
        ["report", str(run_copy)],
        ["doctor", str(run_copy)],
        ["dashboard", str(run_copy)],
    ):
        assert SECRET not in refused(words, name.partition("/")[0])
    assert not (run_copy / "report.html").is_file() or name == "report.html"
    assert (outside / "passwd").read_text() == SECRET


def test_a_pipe_is_refused_and_not_waited_for(run_copy: Path) -> None:
    (run_copy / "metrics.csv").unlink()
    os.mkfifo(run_copy / "metrics.csv")
    refused(["report", str(run_copy)], "metrics.csv")
    with pytest.raises(InputError, match="regular"):
        safe_io.read_text(run_copy / "metrics.csv")


def test_a_study_names_no_folder_but_its_own(tmp_path: Path) -> None:
    from tests.report import studies

    folder = studies.make(tmp_path / "study")
    told = json.loads((folder / "study.json").read_text())
    for name in ("../../outside", "..", "/etc", "a/b", ""):
        told["cells"][1]["runs"][0]["folder"] = name
        (folder / "study.json").write_text(json.dumps(told))
        refused(["report", str(folder)], "STUDY")


def test_where_a_run_says_it_was_made_is_not_written_to_and_its_data_are_not_fetched(
    run_copy: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`run_dir` of a saved run says where it was kept: nothing reads it. `data.root` is read, and said; nothing is put there."""
    import regulo.data.base

    saved = yaml.safe_load((run_copy / "config.yaml").read_text())
    saved["run_dir"] = str(tmp_path / "theirs")
    (run_copy / "config.yaml").write_text(yaml.safe_dump(saved))
    assert answer(["evaluate", str(run_copy)])[0] == 0
    assert not (tmp_path / "theirs").exists()
    target = tmp_path / "bashrc.d"
    target.mkdir()
    saved["data"] = {"name": "cifar10", "root": str(target)}
    (run_copy / "config.yaml").write_text(yaml.safe_dump(saved))
    allowed: list[bool] = []
    plain = regulo.data.base.downloads_allowed
    monkeypatch.setattr("regulo.data.cifar10.downloads_allowed", lambda: allowed.append(plain()) or allowed[-1])
    refused(["evaluate", str(run_copy)], "data.root")
    assert allowed == [False]
    assert not list(target.iterdir())


# ---- words that end up in a page, a terminal, a shell


TAGS = ["<script>alert(1)</script>", '"><img src=x onerror=alert(1)>', "</style><svg onload=alert(1)>", "&lt;", "\x1b[2J"]


@pytest.mark.parametrize("tag", TAGS)
def test_a_page_escapes_every_word_of_a_run(tag: str, run_copy: Path) -> None:
    saved = yaml.safe_load((run_copy / "config.yaml").read_text())
    saved["logger"] |= {"project": tag, "tags": [tag]}
    saved["name"] = tag  # refused by validation: the page says so, and is made all the same
    (run_copy / "config.yaml").write_text(yaml.safe_dump(saved))
    plan = json.loads((run_copy / "plan.json").read_text())
    plan["regularizers"] = [dict.fromkeys(row, tag) for row in plan["regularizers"]]
    (run_copy / "plan.json").write_text(json.dumps(plan))
    (run_copy / "result.json").write_text(json.dumps({"status": "failed", "error": tag, "error_type": tag}))
    assert answer(["report", str(run_copy)])[0] == 0
    page = (run_copy / "report.html").read_text()
    assert tag not in page
    assert str(markupsafe.escape(tag)).replace("\x1b", "\ufffd") in page, "it is shown, as text"


@pytest.mark.parametrize("tag", TAGS)
def test_a_page_escapes_every_word_of_a_study(tag: str, tmp_path: Path) -> None:
    from tests.report import studies

    folder = studies.make(tmp_path / "study")
    told = json.loads((folder / "study.json").read_text())
    told |= dict.fromkeys(("title", "command", "date", "hardware", "method", "name"), tag) | {"stale": [tag]}
    told["cells"][1] |= {"label": tag, "overrides": [tag], "techniques": [tag]}
    told["cells"][1]["runs"][0] |= {"status": "failed", "error": tag}
    told["columns"][2] |= {"label": tag, "unit": tag}
    (folder / "study.json").write_text(json.dumps(told))
    assert answer(["report", str(folder)])[0] == 0
    assert tag not in (folder / "report.html").read_text()


def test_what_a_terminal_would_obey_is_spelt_out(tmp_path: Path) -> None:
    said = refused(["report", str(tmp_path / "\x1b[2J\x07\r\n")])
    assert "\x1b" not in said
    assert "\\x1b[2J" in said


@pytest.mark.parametrize(
    "root", ["/x$(touch owned)", "/x`touch owned`", "/x'; touch owned; '", '/x"; touch owned; "', "/x$$(touch owned)"]
)
def test_a_command_that_is_shown_runs_nothing_else_when_it_is_copied(
    root: str, run_copy: Path, tmp_path: Path, capsys: Any
) -> None:
    """For real: the shown line is given to a shell, with a Makefile like ours before it."""
    from regulo.analysis.doctor.verdict import give_verdict
    from regulo.analysis.report import repeat

    saved = yaml.safe_load((run_copy / "config.yaml").read_text())
    saved["data"]["root"] = root
    (run_copy / "config.yaml").write_text(yaml.safe_dump(saved))
    from regulo.tracking.run_dir import RunFolder

    shown = [repeat.command(saved), *give_verdict(RunFolder.open(run_copy)).next]
    work = tmp_path / "work"
    work.mkdir()
    (work / "Makefile").write_text("train:\n\t@printf '%s\\n' $(ARGS)\n")
    assert len(shown) > 1
    for line in shown:
        done = subprocess.run(["sh", "-c", line], cwd=work, capture_output=True, text=True, check=True)
        assert any(word.startswith("data.root=") for word in done.stdout.splitlines())
        assert [p.name for p in work.iterdir()] == ["Makefile"], line
        assert shlex.split(line)[:2] == ["make", "train"]


def test_a_line_end_in_a_configuration_is_refused() -> None:
    """It would begin a new line in whatever is made of it: a log, a command, a comment in YAML."""
    for value in ("/x\ntouch owned", "/x\x1b[2J", "/x\0"):
        refused(["train", f"data.root={value}"])


@pytest.mark.parametrize("name", ["../../x", "/tmp/x", "a/b", "", "<script>", "a\nb", "a\0b", "x" * 101, "$(x)"])
def test_a_run_has_no_name_that_is_a_path_or_a_tag(name: str) -> None:
    refused(["train", f"name='{name}'"])


@pytest.mark.parametrize(
    "word", ["experiment=../../x", "study=../../x", "study=/etc/passwd", "model=/etc/passwd", "regularizer=[../x]"]
)
def test_no_option_of_a_group_is_a_path(word: str) -> None:
    refused(["ablate" if word.startswith("study") else "train", word], word.partition("=")[0])


# ---- the source itself


def test_the_source_has_no_reader_that_runs_code() -> None:
    """What could run a stranger's data, with the few places that may, by line."""
    source = Path(safe_io.__file__).parent
    forbidden = re.compile(
        r"torch\.load\((?!.*weights_only=True)|pickle\.loads?\("
        r"|\byaml\.(unsafe_load|full_load|load_all|load\((?!text, PlainLoader))"
        r"|(?<![.\w])(eval|exec)\(|_target_|instantiate\(|shell=True|os\.(system|popen|exec\w*)\(|extractall\(|unpack_archive\("
        r"|np\.load\(|joblib|marshal|shelve|__import__\("
    )
    found = [
        f"{file.relative_to(source)}:{number}: {line.strip()}"
        for file in sorted(source.rglob("*.py"))
        for number, line in enumerate(file.read_text(encoding="utf-8").splitlines(), 1)
        if forbidden.search(line)
    ]
    assert not found, "\n".join(found)


def test_a_sound_checkpoint_passes_the_same_door(finished_run: FinishedRun) -> None:
    files = list((finished_run.folder / "checkpoints").iterdir())
    assert len(files) >= 2
    for file in files:
        assert "state_dict" in checkpoint_io.read_checkpoint(file)


def test_wandbs_logs_are_not_removed_behind_a_link(tmp_path: Path) -> None:
    from regulo.tracking.wandb_logger import remove_local_paths

    (tmp_path / "outside" / "logs").mkdir(parents=True)
    (tmp_path / "wandb").mkdir()
    (tmp_path / "wandb" / "run-x").symlink_to(tmp_path / "outside")
    with remove_local_paths(tmp_path / "wandb"):
        pass
    assert (tmp_path / "outside" / "logs").is_dir()
