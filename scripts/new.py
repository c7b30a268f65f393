"""Make a project of your own from this checkout: `make new NAME="leaf disease" DIR=../leaf-disease`.

It needs only Python 3.11 or later and git, so it runs before `make setup`.
"""

import sys

if sys.version_info < (3, 11):  # noqa: UP036 - any Python may start this
    raise SystemExit("new: needs Python 3.11 or later: make new PYTHON=python3.12 …")

from fork.new import main

raise SystemExit(main())
