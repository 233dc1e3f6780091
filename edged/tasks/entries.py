"""The entries of an output that a parser looks at: from the whole output, or as an engine has picked them already."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np
from numpy.typing import NDArray

from edged.tensor import Picking

ROUNDING = 1 - 2.0**-9  # of float16: entries are picked that much below a threshold


Chosen = tuple[NDArray[np.intp], NDArray[np.float32]]
Pick = Callable[[Picking, int], "Chosen | None"]
"""What outputs have whose engine picks entries itself."""


def picking_of(output: str, first: int, end: int | None, threshold: float, *, channels_last: bool = False) -> Picking:
    """Return the picking of a parser that looks at entries with a score of `threshold` or more."""
    return Picking(output, first, end, threshold * ROUNDING, channels_last)


def entries(outputs: Mapping[str, NDArray[np.generic]], picking: Picking, index: int) -> Chosen:
    """Return the positions (n,), ascending, and channels (n, channels) of the entries of image `index` to look at.

    They are all that have a channel of at least `picking.least`, and may be a few more, by rounding: the parser's own
    threshold, on these float32 values, has the last word.
    """
    picked: Pick | None = getattr(outputs, "picked", None)
    if picked is not None and (found := picked(picking, index)) is not None:
        return found
    output = outputs[picking.output][index]
    rows = output if picking.channels_last else output.reshape(len(output), -1).T
    rated = rows[:, picking.first : picking.end]
    best = rated[:, 0] if rated.shape[1] == 1 else rated.max(axis=1)
    chosen = np.flatnonzero(best >= picking.least)
    return chosen, rows[chosen].astype(np.float32, copy=False)
