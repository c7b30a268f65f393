"""`regulo new`: the same as `make new`, for which a checkout is needed."""

import subprocess
import sys
from pathlib import Path

from regulo.core.errors import InputError, Problem

SCRIPT = Path(__file__).parents[3] / "scripts" / "new.py"


def new_project(name: str, folder: str, form: str, techniques: str, author: str) -> int:
    """Make a project of the user's own. Returns the exit code. Raises InputError if this is an installed package."""
    if not SCRIPT.is_file():
        what = "makes a project from a git checkout of Regulo, and this is an installed package"
        raise InputError(Problem("regulo new", what, "git clone Regulo, and there: make new NAME=… DIR=…"))
    options = [f"--form={form}", f"--techniques={techniques}", f"--author={author}"]
    return subprocess.run([sys.executable, str(SCRIPT), *options, "--", name, folder], check=False).returncode
