"""Augmentation that changes what an image shows."""

from collections.abc import Iterator

from regulo.analysis.doctor.base import Rule, RuleFinding, RunCase

SIDES = (("left", "right"), ("port", "starboard"), ("clockwise", "counterclockwise"), ("east", "west"))
TURNED = 45.0


class MirroredLabels(Rule):
    """Flips and wide rotations of digits, letters, and classes that differ by their side."""

    why = "what is seen in the mirror, or upside down, is another class or none: the labels become wrong"
    reference = "Shorten & Khoshgoftaar 2019, Journal of Big Data 6:60, section on label-preserving transformations"

    def check(self, case: RunCase) -> Iterator[RuleFinding]:
        augment, names = case.technique("augment"), [name.lower() for name in case.facts.classes]
        if not augment:
            return
        signs = len(names) >= 2 and (set(names) <= set("0123456789") or set(names) <= set("abcdefghijklmnopqrstuvwxyz"))
        pair = next((p for p in SIDES if {n for n in names if p[0] in n} and swapped(names, p)), None)
        if augment.flip and (pair or signs):
            about = f"classes that differ by {pair[0]} and {pair[1]}" if pair else "classes that are single digits or letters"
            what = f"{augment.flip:.0%} of the images are mirrored, of {about}"
            yield (self.warning if pair else self.note)("regularizer.augment.flip", what, "regularizer.augment.flip=0")
        if augment.rotate > TURNED and signs:
            what = f"images are turned by up to {augment.rotate:g}°, of classes that are single digits or letters (6 and 9)"
            yield self.note("regularizer.augment.rotate", what, f"regularizer.augment.rotate={case.written(10.0)}")


def swapped(names: list[str], pair: tuple[str, str]) -> bool:
    """Whether a class with one word of the pair has a twin with the other."""
    return any(name.replace(*pair) in names for name in names if pair[0] in name)
