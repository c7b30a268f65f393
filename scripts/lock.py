"""Update the hash-locked dependencies: `make lock`.

Writes three files, which name no package registry:
  locks/uv.lock      uv, which installs the others
  locks/torch.lock   torch, torchvision and what only they need (CUDA libraries, Triton)
  locks/base.lock    everything else, the development tools included
The last two are separate so that `TORCH_BACKEND=cpu make setup` can install another build of torch and keep the rest locked.
"""

import re
import subprocess
import sys
from pathlib import Path

import uv

ROOT = Path(__file__).parents[1]
TORCH = r"(torch|torchvision|triton|nvidia-.+|cuda-.+)"
OPTIONS = "--universal --generate-hashes --python-version 3.11 --no-emit-index-url --no-emit-find-links --no-annotate --no-header"


def resolve(*sources: str, requirements: str = "") -> str:
    """The lock entries for all platforms and Python 3.11 or later, with the sha256 of each file. Source "-": `requirements`."""
    command = [uv.find_uv_bin(), "pip", "compile", *sources, *OPTIONS.split(), *sys.argv[1:]]
    return subprocess.run(command, cwd=ROOT, check=True, stdout=subprocess.PIPE, text=True, input=requirements).stdout


def main() -> None:
    """Resolve, split and write."""
    entries = re.split(r"\n(?=[a-z0-9])", resolve("pyproject.toml", "--extra", "dev").strip())
    torch = [e for e in entries if re.match(TORCH + "==", e)]
    base = [e for e in entries if e not in torch]
    for name, lines in {"uv": [resolve("-", requirements="uv").strip()], "torch": torch, "base": base}.items():
        path = ROOT / "locks" / f"{name}.lock"
        path.write_text("\n".join(lines) + "\n")
        print(f"{path.relative_to(ROOT)}: {len(lines)} packages")


if __name__ == "__main__":
    main()
