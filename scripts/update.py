"""`make update`: take a later version of Regulo into a project that was made from it, and keep what was changed in the project.

.regulo.json says which version the project has. The later version brings the program that does the update.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

PROJECT = Path(__file__).parents[1]
RECORD = PROJECT / ".regulo.json"


def main() -> int:
    """Fetch Regulo and start its update. Returns the exit code: 0, 1 if there are conflicts, 2 if nothing was changed."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--from", dest="address", default="", help="where Regulo is fetched from; default: as recorded")
    parser.add_argument("--ref", default="", help="a tag, branch or commit; default: the newest")
    words = parser.parse_args()
    if not RECORD.is_file():
        return refuse(f"{RECORD.name} is not there, so this project was not made from Regulo by `make new`")
    address = words.address or json.loads(RECORD.read_text(encoding="utf-8"))["address"]
    if not address:
        return refuse("no address of Regulo is recorded — say where it is: make update FROM=<address or folder>")
    if words.ref.startswith("-") or address.startswith("-"):
        return refuse("REF and FROM cannot begin with a dash")
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
        for command in (["clone", address, folder], ["-C", folder, "checkout", "--detach", words.ref or "HEAD"]):
            process = subprocess.run(["git", *command[:-1], "--quiet", command[-1]], stderr=subprocess.PIPE, text=True)
            if process.returncode:
                return refuse(f"git {command[0]}: {process.stderr.strip().splitlines()[-1]}")
        environment = os.environ | {"PYTHONPATH": str(Path(folder, "scripts"))}
        return subprocess.run([sys.executable, "-m", "fork.update", str(PROJECT)], env=environment).returncode


def refuse(reason: str) -> int:
    """Say why nothing is done. Returns the exit code."""
    print(f"update: {reason}", file=sys.stderr)
    return 2


if __name__ == "__main__":
    raise SystemExit(main())
