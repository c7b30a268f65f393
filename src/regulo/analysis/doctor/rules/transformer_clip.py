"""A transformer's largest steps."""

from collections.abc import Iterator

from regulo.analysis.doctor.base import Rule, RuleFinding, RunCase


class TransformerClip(Rule):
    """A transformer without a bound on its gradient."""

    why = "single batches with huge gradients are common in transformers; some published recipes do without the bound"
    reference = "Dosovitskiy et al. 2021, arXiv:2010.11929, appendix B.1 (norm 1); without: Touvron et al. 2021, arXiv:2012.12877"

    def check(self, case: RunCase) -> Iterator[RuleFinding]:
        if case.transformer and case.config.optim.grad_clip_norm is None:
            yield self.note(
                "optim.grad_clip_norm", "a transformer is trained without clipping the gradient", "optim.grad_clip_norm=1.0"
            )
