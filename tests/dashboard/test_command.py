"""The command: what it refuses, what it prints, and how it ends."""

import os
import re
import signal
import subprocess
import sys
import urllib.request
import webbrowser
from pathlib import Path

import pytest

from regulo.__main__ import main
from regulo.analysis.dashboard import command
from tests.dashboard import synthetic


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--port", "80"], "--port: '80' is not a port that a user may open"),
        (["--port", "65536"], "1024 to 65535"),
        (["--port=x"], "--port: 'x' is not a port"),
        (["--port", "²"], "is not a port"),
        (["--terminal", "--file", "x.html"], "--file: has no effect with --terminal"),
        (["--file", "x.html", "--port", "8008", "--no-browser"], "2 problems"),
        (["--terminal", "a", "b"], "--terminal: shows one run, or all runs"),
        (["nowhere"], "RUN: there is no folder and no run below runs/ with the name 'nowhere'"),
        (["nowhere", "--file", "x.html"], "RUN: there is no folder and no run below runs/ with the name 'nowhere'"),
        (["--file", "."], "--file: . is not the name of a page — such as runs.html"),
        (["--file", "notes.txt"], "--file: notes.txt is not the name of a page"),
        (["--file", "/proc/page.html"], "--file: /proc/page.html cannot be written"),
        (["--file", f"{'x' * 300}.html"], "cannot be a path: File name too long"),
        (["--file", "no/such/page.html"], "--file: there is no folder no/such"),
        (["--prot", "1"], "did you mean --port?"),
    ],
)
def test_what_cannot_work_is_refused(
    words: list[str], message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(["dashboard", *words]) == 2
    assert message in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("variables", "opens"),
    [({"DISPLAY": ":0"}, True), ({"WAYLAND_DISPLAY": "w"}, True), ({}, False), ({"DISPLAY": ":0", "SSH_CONNECTION": "x"}, False)],
)
def test_a_browser_opens_where_there_is_a_screen(variables: dict[str, str], opens: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("DISPLAY", "WAYLAND_DISPLAY", "SSH_CONNECTION"):
        monkeypatch.delenv(name, raising=False)
    for name, text in variables.items():
        monkeypatch.setenv(name, text)
    monkeypatch.setattr(sys, "platform", "linux")
    assert command.has_browser() == opens


def test_the_browser_gets_the_address_and_ctrl_c_ends_quietly(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from regulo.analysis.dashboard.server import DashboardServer

    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(command, "has_browser", lambda: True)
    addresses: list[str] = []
    monkeypatch.setattr(webbrowser, "open", lambda address: addresses.append(address) is None)
    monkeypatch.setattr(DashboardServer, "serve_forever", interrupt)
    assert main(["dashboard", "--port", "47123"]) == 0
    out, err = capsys.readouterr()
    assert err == ""
    assert addresses == re.findall(r"http://127\.0\.0\.1:\d+/", out)
    assert "ssh" not in out


def test_a_file_leaves_out_figures_that_are_too_large_and_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    synthetic.make_runs(tmp_path, 3, figures=3)
    monkeypatch.setattr(command, "MAX_EMBEDDED_FIGURES", 1)
    assert main(["dashboard", "--file", "page.html"]) == 0
    note = "The figures of the 2 oldest runs are left out, because they are large."
    assert note in capsys.readouterr().out
    page = (tmp_path / "page.html").read_text()
    assert note in page
    assert page.count("data:image/png") == 2


def test_a_file_does_not_show_the_home_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.chdir("/")
    runs = synthetic.make_runs(tmp_path, 2)
    assert main(["dashboard", str(runs), "--file", str(tmp_path / "page.html")]) == 0
    page = (tmp_path / "page.html").read_text()
    assert str(tmp_path) not in page
    assert "~/runs/" in page


@pytest.mark.long
def test_the_whole_command_serves_until_it_is_interrupted(tmp_path: Path) -> None:
    synthetic.make_runs(tmp_path, 3)
    arguments = [sys.executable, "-m", "regulo", "dashboard", "--no-browser"]
    environment = os.environ | {"PYTHONUNBUFFERED": "1"}
    with subprocess.Popen(
        arguments, cwd=tmp_path, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout
        line = process.stdout.readline()
        if line.startswith("port 8008 is taken"):
            line = process.stdout.readline()
        (address,) = re.findall(r"http://127\.0\.0\.1:\d+/", line)
        assert "ssh -L" in process.stdout.readline()
        with urllib.request.urlopen(address) as answer:
            assert b"2026-11-26-000002-run" in answer.read()
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=20)
    assert (process.returncode, out.strip(), err) == (0, "", "")
