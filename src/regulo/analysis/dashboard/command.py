"""`regulo dashboard`: one page of all runs and studies, in the browser."""

import datetime
import getpass
import os
import platform
import sys
import webbrowser
from collections.abc import Sequence
from pathlib import Path

from regulo.core.errors import InputError, Problem
from regulo.core.paths import expand_path, redact_home

PORT = 8008
MAX_PORT = 65535
MAX_EMBEDDED_FIGURES = 1 << 25
"""bytes of the figures that a page without a server holds"""


def dashboard(folders: Sequence[str], terminal: bool, online: bool, file: str | None, port: str | None, no_browser: bool) -> int:
    """Show runs: on a page that a server on this machine makes, in a file, in the terminal, or on W&B. Returns the exit code.

    `folders`: runs, studies, or folders of runs; none: runs/. Raises InputError if one is none of these, or if an option is
    not valid or does not go with another one.
    """
    if terminal:
        from regulo.analysis.dashboard.terminal import show_in_terminal

        _refuse_options("--terminal", {"--online": online, "--file": file, "--port": port, "--no-browser": no_browser})
        if len(folders) > 1:
            raise InputError(Problem("--terminal", "shows one run, or all runs", "name one RUN, or none"))
        return show_in_terminal(folders[0] if folders else None)
    if online:
        from regulo.analysis.dashboard.workspace import save_workspace

        _refuse_options("--online", {"--file": file, "--port": port, "--no-browser": no_browser, "a folder": folders})
        print(f"workspace: {save_workspace()}")
        return 0
    if file is not None:
        _refuse_options("--file", {"--port": port, "--no-browser": no_browser})
        return save_page(folders, expand_path(file))
    return serve(folders, _parse_port(port), not no_browser)


def _refuse_options(option: str, others: dict[str, object]) -> None:
    """Raise InputError if any of the others is set: it would have no effect."""
    problems = [Problem(name, f"has no effect with {option}", "leave one of them out") for name, value in others.items() if value]
    if problems:
        raise InputError(*problems)


def _parse_port(text: str | None) -> int:
    if text is None:
        return PORT
    if not (text.isascii() and text.isdigit() and 1024 <= int(text) <= MAX_PORT):
        raise InputError(Problem("--port", f"{text!r} is not a port that a user may open", f"1024 to {MAX_PORT}, such as {PORT}"))
    return int(text)


def save_page(folders: Sequence[str], file: Path) -> int:
    """Write the page with all that it shows into one file. Returns the exit code. Raises InputError."""
    from regulo.analysis.dashboard.assemble import assemble
    from regulo.analysis.dashboard.content import Content, embed_figures
    from regulo.analysis.dashboard.selection import select_runs
    from regulo.analysis.report.html import CONTROL
    from regulo.core.files import atomic_write

    if file.is_dir() or file.suffix.lower() not in (".html", ".htm"):  # no other file is overwritten by mistake
        example = (file if file.is_dir() else file.parent) / "runs.html"
        raise InputError(Problem("--file", f"{file} is not the name of a page", f"such as {example}"))
    if not file.parent.is_dir():
        raise InputError(Problem("--file", f"there is no folder {file.parent}", "make it first"))
    content = Content(select_runs(folders))
    keys = content.keys()
    details, budget, without = [], MAX_EMBEDDED_FIGURES, 0
    for key in keys:
        run = content.details(key) or {}
        if budget > 0:
            budget -= embed_figures(content, key, run)
        elif run.pop("figures", {}):
            without += 1
        details.append(run)
    now = datetime.datetime.now()
    left_out = f" The figures of the {without} oldest runs are left out, because they are large." if without else ""
    footer = f"Made by regulo dashboard on {now:%Y-%m-%d %H:%M}.{left_out}"
    page = assemble(content.overview() | {"live": False, "made": round(now.timestamp())}, details, footer)
    try:
        atomic_write(file, redact_home(page.html).translate(CONTROL))
    except OSError as error:
        raise InputError(Problem("--file", f"{file} cannot be written: {error.strerror}", "name another one")) from error
    print(f"{file}: {len(keys):,} run{'s' * (len(keys) != 1)}, {file.stat().st_size / 1e6:.1f} MB.{left_out}")
    return 0


def serve(folders: Sequence[str], port: int, open_browser: bool) -> int:
    """Serve the page until Ctrl-C. Returns the exit code. Raises InputError."""
    from regulo.analysis.dashboard.content import Content
    from regulo.analysis.dashboard.selection import select_runs
    from regulo.analysis.dashboard.server import start_server

    content = Content(select_runs(folders))
    try:
        server = start_server(content, port)
    except OSError as error:
        raise InputError(
            Problem("--port", f"no port from {port} on can be opened: {error.strerror}", "name another one")
        ) from None
    with server:
        content.overview()  # the page then comes at once
        if server.server_port != port:
            print(f"port {port} is taken: this is {server.server_port}")
        print(f"{server.address}   (Ctrl-C ends it)", flush=True)
        if not (open_browser and has_browser() and webbrowser.open(server.address)):
            print(f"from another machine: {tunnel_command(server.server_port)}, then open that address there", flush=True)
        try:
            server.serve_forever()
        except KeyboardInterrupt:
            print()
    return 0


def has_browser() -> bool:
    """Whether a browser can open on this machine's screen: not over SSH, and not without a display."""
    if "SSH_CONNECTION" in os.environ:
        return False
    return sys.platform == "darwin" or "DISPLAY" in os.environ or "WAYLAND_DISPLAY" in os.environ


def tunnel_command(port: int) -> str:
    """The command, for another machine, that brings the page there through SSH."""
    try:
        user = f"{getpass.getuser()}@"
    except (KeyError, OSError):  # a user without a name, as in a container
        user = ""
    return f"ssh -L {port}:127.0.0.1:{port} {user}{platform.node()}"
