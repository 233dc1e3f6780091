"""What every map of the configuration is."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict


class Strict(BaseModel):
    """A map of the configuration: known keys only, frozen, and no input in pydantic's own texts."""

    model_config = ConfigDict(extra="forbid", frozen=True, hide_input_in_errors=True)
