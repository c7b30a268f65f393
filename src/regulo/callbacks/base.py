"""The base class of all callbacks."""

import warnings
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from regulo.core.metrics.base import EvalOutput
from regulo.core.registry import PluginConfig
from regulo.core.types import DatasetInfo, Split

if TYPE_CHECKING:
    from lightning.pytorch import Callback
    from matplotlib.figure import Figure


@dataclass(frozen=True)
class FigureContext:
    """What a callback needs: the dataset info, the folder of the figures, and the dashboards."""

    dataset_info: DatasetInfo
    figures: Path
    publish: Callable[[str, Path], None]
    """show a saved figure on the dashboards: (name, path)"""

    def save_figure(self, name: str, figure: "Figure") -> None:
        """Save a figure as `figures/<name>.png` and publish it."""
        from matplotlib.text import Text

        path = self.figures / f"{name}.png"
        path.parent.mkdir(exist_ok=True)
        for text in figure.findobj(Text):
            text.set_parse_math(False)  # a class may have the name $x$
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", message="Glyph .* missing from")  # it is shown as a box
            figure.savefig(path, dpi=130, bbox_inches="tight")
        self.publish(name, path)


class CallbackConfig(PluginConfig):
    """The config of a callback. It overrides one or both of the methods."""

    def callbacks(self, context: FigureContext) -> "list[Callback]":
        """Lightning callbacks that run during training."""
        return []

    def after_evaluation(self, context: FigureContext, test: EvalOutput, split: Split) -> None:
        """Use the final predictions on the test split."""
