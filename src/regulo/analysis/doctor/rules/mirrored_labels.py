"""Augmentation that changes what an image shows."""

from collections.abc import Iterator

from regulo.analysis.doctor.base import Rule, RuleFinding, RunCase

SIDES = (("left", "right"), ("port", "starboard"), ("clockwise", "counterclockwise"), ("east", "west"))
MAX_ROTATION = 45.0


class MirroredLabels(Rule):
    """Flips and large rotations of digits, letters, and classes that differ by a side or direction."""

    why = "a mirrored or upside-down image shows another class or none: its label becomes wrong"
    reference = "Shorten & Khoshgoftaar 2019, Journal of Big Data 6:60, section on label-preserving transformations"

    def check(self, case: RunCase) -> Iterator[RuleFinding]:
        augment, names = case.technique("augment"), [name.lower() for name in case.dataset_info.classes]
        if not augment:
            return
        symbols = len(names) >= 2 and (set(names) <= set("0123456789") or set(names) <= set("abcdefghijklmnopqrstuvwxyz"))
        pair = next((p for p in SIDES if {n for n in names if p[0] in n} and has_mirrored_twin(names, p)), None)
        if augment.flip and (pair or symbols):
            about = f"classes that differ by {pair[0]} and {pair[1]}" if pair else "classes that are single digits or letters"
            what = f"{augment.flip:.0%} of the images are mirrored, and have {about}"
            yield (self.warning if pair else self.note)("regularizer.augment.flip", what, "regularizer.augment.flip=0")
        if augment.rotate > MAX_ROTATION and symbols:
            what = (
                f"images are rotated by up to {augment.rotate:g}°, and have classes that are single digits or letters (6 and 9)"
            )
            yield self.note("regularizer.augment.rotate", what, f"regularizer.augment.rotate={case.config_value(10.0)}")


def has_mirrored_twin(names: list[str], pair: tuple[str, str]) -> bool:
    """Whether two class names differ only by the words of the pair."""
    return any(name.replace(*pair) in names for name in names if pair[0] in name)
