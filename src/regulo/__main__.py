"""`python -m regulo` is the command `regulo`."""

from regulo.cli import main

if __name__ == "__main__":
    raise SystemExit(main())
