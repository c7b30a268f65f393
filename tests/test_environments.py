"""A sample of the suite in other environments: files below the home, output in ASCII, a user without a home."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

SAMPLE = ["test_command_line.py", "test_home_folder.py", "test_run_names.py", "data/test_image_folder.py"]
NO_HOME = """
import pwd, sys
def fail(number): raise KeyError(number)
pwd.getpwuid = fail
import pytest
sys.exit(pytest.main(sys.argv[1:]))
"""
"""pytest for a user whom only a number names, as in a container"""


@pytest.mark.long
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("environment", ["home", "ascii", "no home"])
def test_a_sample_of_the_suite_passes_in_another_environment(environment: str, tmp_path: Path) -> None:
    variables = {name: value for name, value in os.environ.items() if not name.startswith(("PYTEST_", "HOME"))}
    if environment != "no home":
        variables["HOME"] = str(tmp_path if environment == "home" else Path.home())
    if environment == "ascii":
        variables["PYTHONIOENCODING"] = "ascii"
    program = ["-c", NO_HOME] if environment == "no home" else ["-m", "pytest"]
    files = [str(Path(__file__).parent / name) for name in SAMPLE]
    options = [f"--basetemp={tmp_path / 'pytest'}", "-p", "no:cacheprovider"]
    command = [sys.executable, *program, *options, *files]
    process = subprocess.run(command, env=variables, cwd=Path(__file__).parents[1], capture_output=True, text=True, check=False)
    assert process.returncode == 0, process.stdout[-5000:] + process.stderr[-1000:]
