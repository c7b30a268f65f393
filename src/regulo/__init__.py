"""Regulo: which regularizer, how strong, and did it help?"""

from collections.abc import Sequence
from os import PathLike, fspath
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from regulo.evaluation.restore import LoadedRun

__version__ = "0.2.0"


def load(run: str | PathLike[str], extensions: Sequence[str | PathLike[str]] = ()) -> "LoadedRun":
    """The final model of a finished run, ready to predict: `regulo.load("latest").predict(["photo.jpg"])`.

    run: its folder, its name or the beginning of it, `latest` or `best`. extensions: folders with extensions that the run was
    trained with; their code is run. Raises regulo.core.errors.InputError if there is no such run, or if it cannot be loaded.
    """
    from regulo.core.extensions import OPTION, use_extensions
    from regulo.evaluation.restore import load_run
    from regulo.tracking.run_names import open_run

    with use_extensions([f"{OPTION}={fspath(folder)}" for folder in extensions]):
        return load_run(open_run(fspath(run)))
