"""Claim 11: dropout of attention weights."""

import statistics
from collections.abc import Sequence

from regulo.claims.base import Finding, Row, Trial
from regulo.claims.lab.comparison import Comparison, clearly_above, paired, rows, told


class AttentionDropout(Comparison):
    """Rates from 0 to .3 in a small ViT."""

    number = 11
    statement = "Attention dropout of about 0.1 helps a transformer"
    lesson = (
        "The lesson recommends .1 on the attention weights. Loose: recipes for ViTs since DeiT set it to 0 and use "
        "stochastic depth instead."
    )
    source = "Vaswani et al. 2017, arXiv:1706.03762; without it: Touvron et al. 2021, arXiv:2012.12877, table 9"
    method = (
        "A small ViT for 30 epochs with crops and flips, attention dropout 0, .1 and .3. The claim holds if .1 has a "
        "higher test accuracy than 0 (paired difference above 0 by its standard error), and fails if it is clearly "
        "lower; in between it makes no difference that this could show."
    )

    def conditions(self, quick: bool) -> dict[str, list[str]]:
        common = ["model=vit_tiny", "model.depth=4", f"trainer.max_epochs={6 if quick else 30}", "regularizer=[augment,dropout]"]
        rates = (0.0, 0.1) if quick else (0.0, 0.1, 0.3)
        return {f"{p:g}": [*common, "regularizer.dropout.fc=0", f"regularizer.dropout.attention={p}"] for p in rates}

    def judge(self, trials: Sequence[Trial]) -> Finding:
        gain = paired(trials, "test/acc", "0.1", "0")
        table = [*rows(trials, "test/acc", ": test accuracy (%)"), *rows(trials, "gap/acc", ": gap (points)")]
        table.append(Row("0.1 − 0 (points)", gain, "+.2f"))
        verdict = "holds" if clearly_above(gain) else "fails" if clearly_above([-g for g in gain]) else "holds with a limit"
        gap = statistics.fmean(paired(trials, "gap/acc", "0.1", "0"))
        return Finding(verdict, f"{told(gain)} points of test accuracy for p = .1, gap {gap:+.2f} points", "", table)  # type: ignore[arg-type]
