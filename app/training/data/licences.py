"""Which training sources may be used under which terms, as their publishers state them."""

from collections.abc import Mapping
from types import MappingProxyType

from app.core.types import Label

OPEN = "open"
"""The choice of data that are published under licences for commercial use too."""

OPEN_SOURCES: Mapping[str, str] = MappingProxyType(
    {"faces12k": "CC0", "andrewmvd": "CC0", "wear_web": "CC BY 4.0", "office": "CC BY 4.0"}
)
"""Source to the licence that its publisher states. Every other source forbids commercial use, or states none."""

OPEN_LABELS: Mapping[str, frozenset[Label]] = MappingProxyType({"faces12k": frozenset({Label.MASK})})
"""The labels that the licence really covers, where it is not all: faces12k's bare faces come from CelebA, which is for
research only."""


def is_open(source: str, label: Label | None = None) -> bool:
    """Whether images of ``source``, and faces of ``label`` in them, may be used for any purpose."""
    return source in OPEN_SOURCES and (label is None or label in OPEN_LABELS.get(source, (label,)))
