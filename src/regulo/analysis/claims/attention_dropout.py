"""Claim 11: dropout of attention weights."""

from collections.abc import Sequence

from regulo.analysis.claims.base import ClaimResult, ClaimRow, ClaimTrial
from regulo.analysis.claims.lab.comparison import Comparison, contrast, divergence_note, rows

RATES = (0.0, 0.1, 0.3)


class AttentionDropout(Comparison):
    """Rates from 0 to .3 in a small ViT."""

    number = 11
    statement = "Attention dropout of 0.1 raises a small ViT's test accuracy"
    lesson = (
        "The lesson recommends .1 on the attention weights. Not precise: it is often ascribed to the Transformer's paper, "
        "whose text drops the outputs of sub-layers; recipes for ViTs since DeiT use no dropout, but stochastic "
        "depth."
    )
    reference = (
        "BERT, arXiv:1810.04805 (its configuration: attention_probs_dropout_prob .1); Vaswani et al. 2017, "
        "arXiv:1706.03762, section 5.4 (residual dropout only); without any: Touvron et al. 2021, arXiv:2012.12877, "
        "table 9"
    )
    method = (
        "A small ViT (depth 4) for 24 epochs with crops and flips, attention dropout 0, .1 and .3. The claim holds "
        "if .1 is significantly above 0 in test accuracy, fails if it is significantly below, and is undecided in between."
    )

    def conditions(self, quick: bool) -> dict[str, list[str]]:
        common = ["model=vit_tiny", "model.depth=4", f"trainer.max_epochs={6 if quick else 24}", "regularizer=[augment,dropout]"]
        rates = RATES[:2] if quick else RATES
        return {f"{p:g}": [*common, "regularizer.dropout.fc=0", f"regularizer.dropout.attention={p}"] for p in rates}

    def judge(self, trials: Sequence[ClaimTrial]) -> ClaimResult:
        gain, gap = (contrast(trials, key, "0.1", "0") for key in ("test/acc", "gap/acc"))
        table = [*rows(trials, "test/acc", ": test accuracy (%)"), *rows(trials, "gap/acc", ": gap (points)")]
        table.append(ClaimRow("0.1 − 0: test accuracy (points)", gain.differences, "+.2f"))
        evidence = f"p = .1 changes test accuracy by {gain} points and the gap by {gap}{divergence_note(trials)}"
        return ClaimResult(gain.verdict, evidence, table)
