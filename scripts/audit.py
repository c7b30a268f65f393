"""Check what is installed from: `make audit`.

1. Without a network: every entry of locks/ names one version and at least one sha256, nothing points to an address, and the
   set-up installs with --require-hashes.
2. With the network: no locked version has a vulnerability that is known to the advisory service which pip-audit asks.

Exit code: 0 all well; 1 a vulnerability, or a lock that does not hold; 2 the service cannot be reached, so nothing is known.
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


def entries(text: str) -> list[str]:
    """The entries of a lock, each with its hashes."""
    return re.split(r"\n(?=\S)", re.sub(r"(?m)^#.*\n?", "", text).strip())


def faults(root: Path) -> list[str]:
    """What does not hold in the locks and in the set-up."""
    found = []
    for name in LOCKS:
        file = root / "locks" / f"{name}.lock"
        for entry in entries(file.read_text(encoding="utf-8")):
            head = entry.splitlines()[0].rstrip(" \\")
            if not re.match(r"[A-Za-z0-9][\w.-]*(\[[\w,-]+\])?==[\w.+!]+( ;.*)?$", head):
                found.append(f"{file.name}: {head!r} does not name one version")
            if not re.search(r"--hash=sha256:[0-9a-f]{64}", entry):
                found.append(f"{file.name}: {head} has no sha256")
            if "://" in entry or " @ " in entry:
                found.append(f"{file.name}: {head} points to an address")
    for line in (root / "scripts" / "setup.sh").read_text(encoding="utf-8").splitlines():
        if "install" in line and ".lock" in line and "--require-hashes" not in line and "$locked" not in line:
            found.append(f"setup.sh: installs without hashes: {line.strip()}")
    if 'locked="--require-hashes' not in (root / "scripts" / "setup.sh").read_text(encoding="utf-8"):
        found.append("setup.sh: $locked does not require hashes")
    return found


def vulnerable() -> list[str] | None:
    """Locked versions with known vulnerabilities; None, if the advisory service gave no answer."""
    files = [word for name in LOCKS for word in ("-r", str(ROOT / "locks" / f"{name}.lock"))]
    done = subprocess.run([*PIP_AUDIT, *files], capture_output=True, text=True, check=False)
    try:
        told = json.loads(done.stdout)["dependencies"]
    except (ValueError, KeyError):
        print(done.stderr.strip().splitlines()[-1] if done.stderr.strip() else "pip-audit said nothing", file=sys.stderr)
        return None
    return [
        f"{known['name']} {known['version']}: {flaw['id']}; fixed in {', '.join(flaw['fix_versions']) or 'no version yet'}"
        for known in told
        for flaw in known.get("vulns", [])
    ]


def main() -> int:
    """Check, tell, and return the exit code."""
    wrong = faults(ROOT)
    for fault in wrong:
        print(f"audit: {fault}", file=sys.stderr)
    if wrong:
        return 1
    print("audit: every locked file has its sha256, and the set-up requires it")
    if "--offline" in sys.argv[1:]:
        return 0
    flaws = vulnerable()
    if flaws is None:
        print("audit: the advisory service gave no answer: whether versions are vulnerable is NOT known", file=sys.stderr)
        return 2
    for flaw in flaws:
        print(f"audit: {flaw}", file=sys.stderr)
    print(f"audit: {len(flaws) or 'no'} known vulnerabilities" + ("; make lock renews the versions" if flaws else ""))
    return 1 if flaws else 0


if __name__ == "__main__":
    sys.exit(main())
