"""Renew the hash-locked dependencies: `make lock`.

Writes two files, neither of which names a package registry:
  locks/torch.lock   torch, torchvision and what only they need (CUDA libraries, Triton)
  locks/base.lock    everything else, the development tools included
They are apart so that `TORCH_BACKEND=cpu make setup` can take torch from another build and keep the rest locked.
"""

import re
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[1]
TORCH = r"(torch|torchvision|triton|nvidia-.+|cuda-.+)"


def resolve() -> str:
    """One universal resolution (every platform, Python 3.11 and later), each file with its sha256."""
    options = "--universal --generate-hashes --python-version 3.11 --no-emit-index-url --no-emit-find-links --no-annotate --no-header"
    command = ["uv", "pip", "compile", "pyproject.toml", "--extra", "dev", *options.split(), *sys.argv[1:]]
    return subprocess.run(command, cwd=ROOT, check=True, capture_output=True, text=True).stdout


def main() -> None:
    """Split the resolution in two and write both files."""
    entries = re.split(r"\n(?=[a-z0-9])", resolve().strip())
    for name, wanted in (("torch", True), ("base", False)):
        chosen = [entry for entry in entries if bool(re.match(TORCH + "==", entry)) is wanted]
        path = ROOT / "locks" / f"{name}.lock"
        path.write_text("\n".join(chosen) + "\n")
        print(f"{path.relative_to(ROOT)}: {len(chosen)} packages")


if __name__ == "__main__":
    main()
