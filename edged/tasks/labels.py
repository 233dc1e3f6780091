"""Class ids -> names, and which of them a task wants."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from edged.errors import ConfigError, did_you_mean
from edged.tasks.base import ParserSettings


@dataclass(frozen=True)
class Labels:
    """Names by class id; without names a class is called by its number. `kept` is empty for all classes."""

    names: tuple[str, ...]
    kept: tuple[int, ...] = ()

    def name(self, class_id: int) -> str:
        """Return the name of a class, its number where there is none."""
        return self.names[class_id] if 0 <= class_id < len(self.names) else str(class_id)

    def wanted(self, class_ids: NDArray[np.integer]) -> NDArray[np.bool_]:
        """Return which of these class ids the task keeps."""
        return np.isin(class_ids, self.kept)


def read_labels(parser: str, settings: ParserSettings, count: int | None) -> Labels:
    """Return the labels of a model with `count` classes, None where the model does not tell how many.

    The caller has compared `count` with the labels already, if there are any.

    Raises:
        ConfigError: `keep` has a name that is no label.
    """
    names = settings.labels or tuple(str(number) for number in range(count or 0))
    if not settings.keep:
        return Labels(names)
    if not names:
        raise ConfigError(f"parser {parser!r}: keep needs labels, this model does not tell its classes")
    for name in settings.keep:
        if name not in names:
            hint = did_you_mean(name, names) or f"labels are {_some(names)}"
            raise ConfigError(f"keep has {name!r}, which is no label; {hint}")
    return Labels(names, tuple(i for i, name in enumerate(names) if name in settings.keep))


def classes_differ(count: int, settings: ParserSettings) -> str:
    """Return what to say when labels and classes are not as many, an empty text when they are."""
    if not settings.labels or count == len(settings.labels):
        return ""
    classes = "1 class" if count == 1 else f"{count} classes"
    return f"which is {classes}; labels has {len(settings.labels)}"


def _some(names: tuple[str, ...], limit: int = 10) -> str:
    return ", ".join(names[:limit]) + (f" and {len(names) - limit} more" if len(names) > limit else "")
