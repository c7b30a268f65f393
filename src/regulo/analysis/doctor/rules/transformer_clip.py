"""A transformer's largest steps."""

from collections.abc import Iterator

from regulo.analysis.doctor.base import Case, Finding, Rule


class TransformerClip(Rule):
    """A transformer without a bound on its gradient."""

    why = "single batches with huge gradients are common in transformers; some published recipes do without the bound"
    source = "Dosovitskiy et al. 2021, arXiv:2010.11929, appendix B.1 (norm 1); without: Touvron et al. 2021, arXiv:2012.12877"

    def look(self, case: Case) -> Iterator[Finding]:
        if case.transformer and case.config.optim.clip is None:
            yield self.note("optim.clip", "a transformer is trained without clipping the gradient", "optim.clip=1.0")
