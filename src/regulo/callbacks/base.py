"""What an observer is."""

import warnings
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from regulo.core.metrics import EvalOutput
from regulo.core.registry import PluginConfig
from regulo.core.types import DatasetInfo, Split

if TYPE_CHECKING:
    from lightning.pytorch import Callback
    from matplotlib.figure import Figure


@dataclass(frozen=True)
class FigureContext:
    """What an observer may look at and where it may draw."""

    facts: DatasetInfo
    figures: Path
    publish: Callable[[str, Path], None]
    """show a finished figure on the dashboards, under a name"""

    def save_figure(self, name: str, figure: "Figure") -> None:
        """Save a figure as `figures/<name>.png` and publish it."""
        from matplotlib.text import Text

        path = self.figures / f"{name}.png"
        for text in figure.findobj(Text):
            text.set_parse_math(False)  # a class may be called $x$
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", message="Glyph .* missing from")  # which is drawn as a box
            figure.savefig(path, dpi=130, bbox_inches="tight")
        self.publish(name, path)


class CallbackConfig(PluginConfig):
    """Overrides one or both of the places from which a run can be watched."""

    def callbacks(self, context: FigureContext) -> "list[Callback]":
        """Lightning callbacks that watch the fit."""
        return []

    def after_evaluation(self, context: FigureContext, test: EvalOutput, split: Split) -> None:
        """Look at the final answers on the test split."""
