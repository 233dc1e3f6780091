"""Where the bundled configuration is."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from edged.errors import BackendUnavailable

PACKAGE = Path(__file__).resolve().parent.parent
PLACES = (PACKAGE / "configs" / "demo", PACKAGE.parent / "configs" / "demo")  # in a wheel, in a checkout


def demo_config(places: Sequence[Path] = PLACES) -> Path:
    """Return the bundled configuration directory.

    Raises:
        BackendUnavailable: it was not installed.
    """
    for place in places:
        if (place / "cameras.yaml").is_file():
            return place
    looked = " and ".join(map(str, places))
    raise BackendUnavailable(f"the bundled scene is not here (looked at {looked}); run scripts/demo in a checkout")
