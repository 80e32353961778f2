"""What results depend on, compared."""

from collections.abc import Mapping


def difference(ones: Mapping[str, str], others: Mapping[str, str]) -> tuple[str, str, str]:
    """The name of the first version that differs, in the order of names, and what both sides say. They must differ."""
    name = next(name for name in sorted({*ones, *others}) if ones.get(name) != others.get(name))
    return name, ones.get(name, "not named"), others.get(name, "not named")
