#!/bin/sh
# Make .venv with the locked, hash-checked dependencies and Regulo itself.
#   PYTHON=python3.12        which Python (3.11 to 3.13); default: the first one found
#   TORCH_BACKEND=cpu        torch from another build: cpu, cu126, cu128, rocm6.4, … (any that `uv pip install
#                            --torch-backend` knows); same versions, everything else stays locked
set -eu
cd "$(dirname "$0")/.."

ask() { "$1" -c 'import sys; raise SystemExit(not (3, 11) <= sys.version_info[:2] <= (3, 13))' 2>/dev/null; }
python=""
for candidate in ${PYTHON:-python3 python3.13 python3.12 python3.11}; do
  if command -v "$candidate" >/dev/null && ask "$candidate"; then python=$candidate; break; fi
done
if [ -z "$python" ]; then
  echo "setup: no Python 3.11 to 3.13 found (tried ${PYTHON:-python3 python3.13 python3.12 python3.11}); name one: make setup PYTHON=/path/to/python" >&2
  exit 2
fi

rm -rf .venv
if ! "$python" -m venv .venv 2>.setup.log; then
  cat .setup.log >&2
  echo "setup: $python cannot make virtual environments; on Debian: apt install python3-venv" >&2
  exit 2
fi
rm -f .setup.log
echo "setup: installing the locked dependencies with $(.venv/bin/python --version); this can take minutes"
.venv/bin/python -m pip install --quiet --disable-pip-version-check --require-hashes -r locks/uv.lock
export VIRTUAL_ENV="$PWD/.venv"
export UV_COMPILE_BYTECODE=1 # once, here: where nothing may be written later (PYTHONDONTWRITEBYTECODE), each start would do it anew
locked="--require-hashes --no-deps --build-constraints locks/base.lock"
if [ -n "${TORCH_BACKEND:-}" ]; then
  versions=$(sed -n 's/^\(torch\(vision\)\{0,1\}==[^ ]*\).*/\1/p' locks/torch.lock)
  # shellcheck disable=SC2086 # two words on purpose
  .venv/bin/uv pip install --quiet --torch-backend "$TORCH_BACKEND" $versions
else
  # shellcheck disable=SC2086
  .venv/bin/uv pip install --quiet $locked -r locks/torch.lock
fi
# shellcheck disable=SC2086
.venv/bin/uv pip install --quiet $locked -r locks/base.lock
.venv/bin/uv pip install --quiet --no-deps --no-build-isolation -e .
.venv/bin/uv pip check --quiet
echo "${TORCH_BACKEND:-}" >.venv/.ready # which build of torch is there
echo "setup: done"
