"""git, as far as it is needed here."""

import os
import subprocess
from collections.abc import Mapping
from pathlib import Path

from fork.problems import Problem, RefusalError


def git(folder: Path, *arguments: str, env: Mapping[str, str] | None = None) -> str:
    """The output of a git command in a folder. Raises RefusalError with the message of git."""
    process = run_git(folder, *arguments, env=env)
    if process.returncode:
        message = (process.stderr.strip() or process.stdout.strip()).splitlines()
        raise RefusalError(Problem(f"git {arguments[0]}", message[-1] if message else f"exit code {process.returncode}"))
    return process.stdout.rstrip("\n")


def run_git(folder: Path, *arguments: str, env: Mapping[str, str] | None = None) -> subprocess.CompletedProcess[str]:
    """A git command in a folder, whatever its exit code. Raises RefusalError without git."""
    outside = {k: v for k, v in os.environ.items() if k not in ("GIT_DIR", "GIT_INDEX_FILE", "GIT_WORK_TREE")}  # as in a hook
    command = ["git", "-C", str(folder), *arguments]
    try:
        return subprocess.run(
            command, env={**outside, **(env or {})}, capture_output=True, text=True, encoding="utf-8", errors="surrogateescape"
        )
    except FileNotFoundError:
        raise RefusalError(Problem("git", "is not installed")) from None


def identity(folder: Path, holder: str) -> list[str]:
    """Options for a commit of somebody who has not told git a name yet."""
    if run_git(folder, "config", "user.email").stdout.strip():
        return []
    return ["-c", f"user.name={holder}", "-c", "user.email="]


def remote_address(folder: Path) -> str:
    """The address of `origin` without a password, or "" if it is a folder of this machine."""
    address = run_git(folder, "config", "remote.origin.url").stdout.strip()
    scheme, separator, rest = address.partition("://")
    if separator and scheme != "file":
        host, slash, path = rest.partition("/")
        user = "git@" if scheme == "ssh" and host.startswith("git@") else ""
        return f"{scheme}://{user}{host.rpartition('@')[2]}{slash}{path}"
    return address if not separator and "@" in address and ":" in address else ""
