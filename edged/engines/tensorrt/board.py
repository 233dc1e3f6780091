"""What the machine has for TensorRT, asked and never looked up in a table: two boards of one name may differ."""

from __future__ import annotations

from contextlib import closing
from dataclasses import dataclass

from edged.device import gpu
from edged.engines.tensorrt.library import open_library

LOADABLES = 16
"""How many pieces of networks one DLA core holds (NVIDIA, DLA layer restrictions). A whole network is one of them, and
every layer in its middle that goes to the GPU makes one more."""


@dataclass(frozen=True)
class Board:
    """TensorRT's release here, and how many DLA cores it finds beside GPU 0.

    It finds none on a board without, and a release that does not support the board's DLA finds none either: of 10.x the
    last to do so is 10.7, and 11.x begins with 11.4.1 on AGX Orin.
    """

    release: str
    dla_cores: int

    @property
    def rooms(self) -> dict[str, dict[str, int]]:
        """Return the places for engines, and what is limited there.

        Memory is not: a GPU and the DLA cores beside it take it from the same.
        """
        return {"gpu0": {}} | {f"dla{core}": {"loadables": LOADABLES} for core in range(self.dla_cores)}

    @property
    def no_dla(self) -> str:
        """Return in words that there is no DLA, or nothing."""
        return "" if self.dla_cores else f"TensorRT {self.release} finds no DLA here"


def open_board() -> Board:
    """Return what is here.

    Raises:
        BackendUnavailable: TensorRT or the GPU is not there.
    """
    library = open_library()
    with closing(gpu.open_device(0)) as device, device.active():
        return Board(library.release, library.runtime().num_DLA_cores)
