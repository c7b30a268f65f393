"""The confusion matrix on the test split."""

from regulo.callbacks.base import CallbackConfig, FigureContext
from regulo.core.figures import new_figure, shorten
from regulo.core.metrics.base import EvalOutput
from regulo.core.types import Split


class Confusion(CallbackConfig):
    """Rows are labels, columns are predictions; shares of each row in percent."""

    def after_evaluation(self, context: FigureContext, test: EvalOutput, split: Split) -> None:
        counts = test.confusion_matrix().double()
        share = 100 * counts / counts.sum(1, keepdim=True).clamp(min=1)
        names, k = [shorten(name) for name in context.dataset_info.classes], len(context.dataset_info.classes)
        size = min(14.0, 2.5 + 0.45 * k)
        figure = new_figure(size, size)
        ax = figure.subplots()
        ax.imshow(share.numpy(), cmap="Blues", vmin=0, vmax=100)
        if k <= 30:
            ax.set_xticks(range(k), names, rotation=60, ha="right", fontsize=8)
            ax.set_yticks(range(k), names, fontsize=8)
            for i, j in share.round().nonzero().tolist():
                color = "white" if share[i, j] > 50 else "black"
                ax.text(j, i, f"{share[i, j]:.0f}", ha="center", va="center", fontsize=8, color=color)
        ax.set_xlabel("prediction")
        ax.set_ylabel("label")
        ax.set_title(f"test, % of each label (n = {len(test.labels):,})", fontsize=10)
        context.save_figure("confusion", figure)
