"""What a camera is set to: the wishes of its configuration, met or refused, and what its driver made of them."""

from __future__ import annotations

from fractions import Fraction

from edged.camera.base import Opening
from edged.camera.v4l2.choice import PREFERRED, Choice, Menu, Wish, choose, is_near, listing
from edged.camera.v4l2.device import Device, Granted
from edged.errors import CameraError


def negotiate(device: Device, opening: Opening) -> tuple[Granted, Fraction | None]:
    """Choose what serves the wishes, set it, and see that it was granted. Return it and the time between frames."""
    size = (opening.width_px, opening.height_px) if opening.width_px and opening.height_px else None
    wish = Wish(opening.pixel_format, size, opening.rate_hz)
    now = device.format()
    sizes = {fourcc: device.sizes(fourcc) if fourcc in PREFERRED else [] for fourcc in device.fourccs()}
    menu = Menu(str(device), sizes, device.intervals, (now.width, now.height))
    choice = choose(menu, wish)
    granted = device.set_format(choice.fourcc, choice.width, choice.height)
    if (granted.fourcc, granted.width, granted.height) != (choice.fourcc, choice.width, choice.height):
        asked = f"{choice.fourcc} {choice.width}x{choice.height}"
        got = f"{granted.fourcc} {granted.width}x{granted.height}"
        raise CameraError(f"{device} was asked for {asked} and granted {got}; {listing(menu)}")
    return granted, _rate_granted(device, menu, choice)


def _rate_granted(device: Device, menu: Menu, choice: Choice) -> Fraction | None:
    only = menu.intervals(choice.fourcc, choice.width, choice.height)
    if choice.interval is None:
        return device.interval() or (only[0].shortest if len(only) == 1 else None)
    granted = device.set_interval(choice.interval)
    if granted is None and len(only) == 1 and only[0].shortest == only[0].longest:
        granted = only[0].shortest  # nothing to set
    wanted = f"{float(1 / choice.interval):.4g} Hz"
    if granted is None:
        raise CameraError(f"{device} cannot be set to {wanted}: its driver sets no rate; leave rate_hz out")
    if not is_near(granted, choice.interval):
        got = f"{float(1 / granted):.4g} Hz"
        raise CameraError(f"{device} was asked for {wanted} and granted {got}; {listing(menu)}")
    return granted
