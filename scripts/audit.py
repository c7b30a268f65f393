"""Check the locked dependencies: `make audit`.

1. Without network: every entry of locks/ names one version and at least one sha256, no entry contains a URL, and the setup
   installs with --require-hashes.
2. With network: the advisory service of pip-audit lists no vulnerability of a locked version.

Exit code: 0: no problem; 1: a vulnerability or a wrong lock; 2: the service cannot be reached, so vulnerabilities are unknown.
`--offline` does the first part only.
"""

import json
import re
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[1]
LOCKS = ("uv", "torch", "base")
PIP_AUDIT = [sys.executable, "-m", "pip_audit", "--require-hashes", "--disable-pip", "--progress-spinner=off", "--format=json"]


def split_entries(text: str) -> list[str]:
    """The entries of a lock, each with its hashes."""
    return re.split(r"\n(?=\S)", re.sub(r"(?m)^#.*\n?", "", text).strip())


def check_locks(root: Path) -> list[str]:
    """Problems of the lock files and of the setup, one line each."""
    problems = []
    for name in LOCKS:
        file = root / "locks" / f"{name}.lock"
        for entry in split_entries(file.read_text(encoding="utf-8")):
            head = entry.splitlines()[0].rstrip(" \\")
            if not re.match(r"[A-Za-z0-9][\w.-]*(\[[\w,-]+\])?==[\w.+!]+( ;.*)?$", head):
                problems.append(f"{file.name}: {head!r} does not name one version")
            if not re.search(r"--hash=sha256:[0-9a-f]{64}", entry):
                problems.append(f"{file.name}: {head} has no sha256")
            if "://" in entry or " @ " in entry:
                problems.append(f"{file.name}: {head} points to a URL")
    for line in (root / "scripts" / "setup.sh").read_text(encoding="utf-8").splitlines():
        if "install" in line and ".lock" in line and "--require-hashes" not in line and "$locked" not in line:
            problems.append(f"setup.sh: installs without hashes: {line.strip()}")
    if 'locked="--require-hashes' not in (root / "scripts" / "setup.sh").read_text(encoding="utf-8"):
        problems.append("setup.sh: $locked does not require hashes")
    return problems


def find_vulnerabilities() -> list[str] | None:
    """Known vulnerabilities of the locked versions, one line each; None if the advisory service does not answer."""
    options = [option for name in LOCKS for option in ("-r", str(ROOT / "locks" / f"{name}.lock"))]
    process = subprocess.run([*PIP_AUDIT, *options], capture_output=True, text=True, check=False)
    try:
        packages = json.loads(process.stdout)["dependencies"]
    except (ValueError, KeyError):
        print((process.stderr.strip() or "pip-audit printed nothing").splitlines()[-1], file=sys.stderr)
        return None
    return [
        f"{package['name']} {package['version']}: {entry['id']}; fixed in {', '.join(entry['fix_versions']) or 'no version yet'}"
        for package in packages
        for entry in package.get("vulns", [])
    ]


def main() -> int:
    """Check, print the problems, and return the exit code."""
    problems = check_locks(ROOT)
    for problem in problems:
        print(f"audit: {problem}", file=sys.stderr)
    if problems:
        return 1
    print("audit: every locked file has its sha256, and the setup requires it")
    if "--offline" in sys.argv[1:]:
        return 0
    vulnerabilities = find_vulnerabilities()
    if vulnerabilities is None:
        print("audit: the advisory service does not answer: whether versions are vulnerable is NOT known", file=sys.stderr)
        return 2
    for vulnerability in vulnerabilities:
        print(f"audit: {vulnerability}", file=sys.stderr)
    hint = "; make lock updates the versions" if vulnerabilities else ""
    print(f"audit: {len(vulnerabilities) or 'no'} known vulnerabilities{hint}")
    return 1 if vulnerabilities else 0


if __name__ == "__main__":
    sys.exit(main())
