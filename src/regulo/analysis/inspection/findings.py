"""What is wrong with a data set, or worth a look."""

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from regulo.analysis.inspection.images import ImageFacts, ImageSet
from regulo.analysis.inspection.near_copies import MAX_PAIRS, find_near_pairs
from regulo.core.text import format_count
from regulo.data.components.copies import Place
from regulo.training.imbalance import MAX_RATIO, imbalance

MADE_BY = "Made by regulo inspect on"
"""begins the last line of the page"""


@dataclass(frozen=True)
class Finding:
    """One kind of finding, and the images that it is about."""

    kind: str
    """for the list of files"""
    what: str
    """a sentence, with the numbers"""
    remedy: str
    groups: Sequence[Sequence[ImageFacts]] = ()
    is_problem: bool = True
    """False: worth a look, because it may be meant"""


def find_problems(images: ImageSet) -> list[Finding]:
    """All findings, the worst ones first. Kinds without an image are left out."""
    by_place = {facts.place: facts for facts in images.facts}
    exact = [[by_place[place] for place in group] for group in images.copies.groups]
    plain = [group for group in exact if not _crosses_splits(group) and not _has_two_labels(group)]
    near = _near_pairs(images, {place for group in images.copies.groups for place in group[1:]})
    findings = [
        _unreadable(images.facts),
        _leaks(images, exact),
        Finding(
            "two labels",
            f"{format_count(len(images.copies.under_two_labels()), 'picture')} under two classes",
            "keep each in the right class only",
            [group for group in exact if _has_two_labels(group)],
        ),
        Finding(
            "near leak",
            f"{_count_pairs(near, _crosses_splits)} in two splits",
            "look at them: photos of one thing belong into one split",
            [pair for pair in near if _crosses_splits(pair)],
            is_problem=False,
        ),
        Finding(
            "near two labels",
            f"{_count_pairs(near, _has_two_labels)} under two classes",
            "look at them: one label may be wrong",
            [pair for pair in near if _has_two_labels(pair)],
            is_problem=False,
        ),
        Finding(
            "copy",
            f"{format_count(len(plain), 'picture')} more than once in one split and class",
            "nothing, or keep one of each: a copy counts as one more image",
            plain,
            is_problem=False,
        ),
    ]
    return [finding for finding in findings if finding.groups] + _imbalance(images)


def _unreadable(facts: Sequence[ImageFacts]) -> Finding:
    groups = [[image] for image in facts if image.error]
    what = f"{format_count(len(groups), 'file')} that cannot be read"
    return Finding("unreadable", what, "repair or remove them: training refuses them", groups)


def _leaks(images: ImageSet, exact: Sequence[Sequence[ImageFacts]]) -> Finding:
    what = f"{format_count(images.copies.count_leaks(), 'image')} of val and test with the content of an image in train or val"
    groups = [group for group in exact if _crosses_splits(group)]
    return Finding("leak", what, "remove one of each: their scores say nothing about new images", groups)


def _imbalance(images: ImageSet) -> list[Finding]:
    counts = images.counts()["train"]
    if imbalance(counts) <= MAX_RATIO:
        return []
    large, small = max(counts), min(counts)
    names = images.classes[counts.index(large)], images.classes[counts.index(small)]
    what = f"the largest class of train, {names[0]}, has {large:,} images, and the smallest, {names[1]}, has {small:,}"
    return [Finding("imbalance", what, "more images of the small classes; and do not judge by accuracy alone")]


def _near_pairs(images: ImageSet, repeated: set[Place]) -> list[tuple[ImageFacts, ImageFacts]]:
    """Pairs that look alike. Of images with the same content only the first is compared."""
    readable = [image for image in images.facts if not image.error and image.place not in repeated]
    return [(readable[i], readable[j]) for i, j in find_near_pairs([image.hash for image in readable])]


def _crosses_splits(group: Sequence[ImageFacts]) -> bool:
    return len({image.place.split for image in group}) > 1


def _has_two_labels(group: Sequence[ImageFacts]) -> bool:
    return len({image.place.label for image in group}) > 1


def _count_pairs(pairs: Sequence[Sequence[ImageFacts]], condition: Callable[[Sequence[ImageFacts]], bool]) -> str:
    n = sum(map(condition, pairs))
    return f"{'at least ' * (len(pairs) >= MAX_PAIRS)}{format_count(n, 'pair')} of images that look alike"


def count_kinds(facts: Sequence[ImageFacts]) -> Counter[str]:
    """The number of images of each format and mode."""
    return Counter(image.kind for image in facts if not image.error)
