"""Gradient clipping for transformers."""

from collections.abc import Iterator

from regulo.analysis.doctor.base import Rule, RuleFinding, RunCase


class TransformerClip(Rule):
    """A transformer without gradient clipping."""

    why = "single batches with very large gradients are common in transformers; some published recipes train without clipping"
    reference = "Dosovitskiy et al. 2021, arXiv:2010.11929, appendix B.1 (norm 1); without: Touvron et al. 2021, arXiv:2012.12877"

    def check(self, case: RunCase) -> Iterator[RuleFinding]:
        if case.is_transformer and case.config.optim.grad_clip_norm is None:
            what = "a transformer is trained without gradient clipping"
            yield self.note("optim.grad_clip_norm", what, "optim.grad_clip_norm=1.0")
