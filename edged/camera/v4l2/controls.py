"""A camera's controls: exposure, gain and the like, by the names of `v4l2-ctl`."""

from __future__ import annotations

import ctypes
import errno
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from edged.camera.v4l2 import uapi
from edged.camera.v4l2.device import Device
from edged.errors import CameraError

CONTROLS_MAX = 512
MENU_MAX = 64
MENUS = (uapi.CTRL_TYPE_MENU, uapi.CTRL_TYPE_INTEGER_MENU)
NUMBERS = (
    uapi.CTRL_TYPE_INTEGER, uapi.CTRL_TYPE_BOOLEAN, uapi.CTRL_TYPE_INTEGER64, uapi.CTRL_TYPE_BITMASK, *MENUS,
)  # fmt: skip


@dataclass(frozen=True)
class Control:
    """One control that is set by a number."""

    id: int
    name: str
    type: int
    low: int
    high: int
    step: int
    flags: int

    @property
    def read_only(self) -> bool:
        """Whether it only shows something."""
        return bool(self.flags & uapi.CTRL_FLAG_READ_ONLY)


def name_of(text: str) -> str:
    """Return a control's name as `v4l2-ctl` writes it: lower case, whatever is no letter or digit a single `_`."""
    return re.sub(r"[^a-z0-9]+", "_", text.lower()).strip("_")


def controls_of(device: Device) -> dict[str, Control]:
    """Return the controls of a device that are set by a number, by name, in its order."""
    found: dict[str, Control] = {}
    entry = uapi.QueryExtCtrl()
    last = 0
    for _ in range(CONTROLS_MAX):
        ctypes.memset(ctypes.addressof(entry), 0, ctypes.sizeof(entry))
        entry.id = last | uapi.CTRL_FLAG_NEXT_CTRL
        try:
            device.call(uapi.QUERY_EXT_CTRL, entry)
        except OSError as exc:
            if exc.errno in (errno.EINVAL, errno.ENOTTY):
                break
            raise device.failed("cannot ask for the controls of", exc) from exc
        last = entry.id
        if entry.type in NUMBERS and not entry.flags & uapi.CTRL_FLAG_DISABLED:
            name = name_of(uapi.text_of(entry.name))
            found[name] = Control(entry.id, name, entry.type, entry.minimum, entry.maximum, entry.step, entry.flags)
    return found


def apply_controls(device: Device, wanted: Mapping[str, int | bool]) -> None:
    """Set controls in the order in which they are written: an automatic mode is switched off before what it rules.

    Raises:
        CameraError: an unknown name, a value that is not allowed, one that only shows something, or one that the
            device refuses; the text says what is allowed.
    """
    if not wanted:
        return
    known = controls_of(device)
    for name, value in wanted.items():
        if name not in known:
            raise CameraError(f"{device} has no control {name!r}; it has {', '.join(known) or 'none'}")
        control = known[name]
        if control.read_only:
            settable = ", ".join(one.name for one in known.values() if not one.read_only)
            raise CameraError(f"{device}: control {name} is read-only; those that can be set are {settable}")
        if not _allows(device, control, int(value)):
            raise CameraError(f"{device}: control {name} must be {_allowed(device, control)}, got {int(value)}")
        _set(device, control, int(value))
    after = controls_of(device)
    idle = [name for name in wanted if name in after and after[name].flags & uapi.CTRL_FLAG_INACTIVE]
    if idle:
        raise CameraError(
            f"{device}: control {', '.join(idle)} has no effect: an automatic mode owns it; switch that off"
        )


def _allows(device: Device, control: Control, value: int) -> bool:
    if control.type in MENUS:
        return value in dict(_menu(device, control))
    if control.type == uapi.CTRL_TYPE_BITMASK:
        return 0 <= value <= control.high & 0xFFFFFFFF
    return control.low <= value <= control.high and (value - control.low) % (control.step or 1) == 0


def _allowed(device: Device, control: Control) -> str:
    if control.type in MENUS:
        return "one of " + ", ".join(f"{index} ({text})" for index, text in _menu(device, control))
    if control.type == uapi.CTRL_TYPE_BOOLEAN:
        return "true or false"
    if control.type == uapi.CTRL_TYPE_BITMASK:
        return f"bits of {control.high & 0xFFFFFFFF:#x}"
    steps = f" in steps of {control.step}" if control.step > 1 else ""
    return f"from {control.low} to {control.high}{steps}"


def _menu(device: Device, control: Control) -> Iterator[tuple[int, str]]:
    for index in range(control.low, min(control.high, control.low + MENU_MAX) + 1):
        entry = uapi.QueryMenu(id=control.id, index=index)
        try:
            device.call(uapi.QUERYMENU, entry)
        except OSError:  # a place of the menu that this device leaves out
            continue
        yield index, uapi.text_of(entry.name) if control.type == uapi.CTRL_TYPE_MENU else str(entry.value)


def _set(device: Device, control: Control, value: int) -> None:
    one = uapi.ExtControl(id=control.id)
    if control.type == uapi.CTRL_TYPE_INTEGER64:
        one.value64 = value
    else:
        one.value = ctypes.c_int32(value & 0xFFFFFFFF).value
    all_of_them = uapi.ExtControls(count=1, controls=ctypes.pointer(one))
    try:
        device.call(uapi.S_EXT_CTRLS, all_of_them)
    except OSError as exc:
        if exc.errno in (errno.EACCES, errno.EBUSY, errno.EIO, errno.EPERM):
            why = f"{exc.strerror}; an automatic mode may own it: switch that off first, in a line above"
            raise CameraError(f"{device}: control {control.name} cannot be set to {value} now ({why})") from exc
        if exc.errno in (errno.EINVAL, errno.ERANGE):
            allowed = _allowed(device, control)
            raise CameraError(f"{device}: control {control.name} must be {allowed}, got {value}") from exc
        raise device.failed(f"cannot set {control.name} of", exc) from exc
