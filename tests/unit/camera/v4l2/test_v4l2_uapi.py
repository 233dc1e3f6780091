"""Our structures, ioctl numbers and constants are those of the kernel's header: asked with a C compiler."""

from __future__ import annotations

import ctypes
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from edged.camera.v4l2 import uapi

HEADER = Path("/usr/include/linux/videodev2.h")
STRUCTS = {
    name: re.match(r"`struct (\w+)`", kind.__doc__)[1]
    for name, kind in vars(uapi).items()
    if isinstance(kind, type) and issubclass(kind, ctypes.Structure)
}
OURS_ONLY = {"reserved", "reserved2", "pointer", "union", "raw_data"}  # unions without a name, and what nobody reads


def offsets(kind: type, above: str = "", base: int = 0) -> list[tuple[str, int]]:
    """Return every field below a structure with its place, inner ones with dots."""
    found = []
    for name, of, *_ in kind._fields_:
        at = base + getattr(kind, name).offset
        inner = above if name in getattr(kind, "_anonymous_", ()) else f"{above}{name}."
        if name not in OURS_ONLY:
            found.append((f"{above}{name}", at))
        if issubclass(of, (ctypes.Structure, ctypes.Union)):
            found += offsets(of, inner, at)
    return found


@pytest.fixture(scope="module")
def header(tmp_path_factory):
    """What the compiler makes of the header: sizes, places of fields, numbers."""
    if shutil.which("gcc") is None or not HEADER.exists():
        pytest.skip("no C compiler or kernel header here; apt-get install gcc linux-libc-dev")
    lines = []
    for name, c_name in STRUCTS.items():
        lines.append(f'printf("{name} %zu\\n", sizeof(struct {c_name}));')
        for field, _ in offsets(getattr(uapi, name)):
            lines.append(f'printf("{name}.{field} %zu\\n", offsetof(struct {c_name}, {field}));')
    for request in requests():
        lines.append(f'printf("{request.name} %lu\\n", (unsigned long){request.name});')
    for name in constants():
        lines.append(f'printf("{name} %lu\\n", (unsigned long)V4L2_{name} & 0xFFFFFFFF);')
    folder = tmp_path_factory.mktemp("header")
    program = "#include <stdio.h>\n#include <stddef.h>\n#include <sys/time.h>\n#include <linux/videodev2.h>\n"
    (folder / "ask.c").write_text(program + "int main(void) {\n" + "\n".join(lines) + "\nreturn 0; }\n")
    subprocess.run(["gcc", "-o", folder / "ask", folder / "ask.c"], check=True)
    said = subprocess.run([folder / "ask"], check=True, capture_output=True, text=True).stdout
    return {name: int(number) for name, number in (line.split() for line in said.splitlines())}


def requests() -> list[uapi.Request]:
    return [value for value in vars(uapi).values() if isinstance(value, uapi.Request)]


def constants() -> list[str]:
    ours = {"MAX_PLANES"}
    return [
        name for name, value in vars(uapi).items() if name.isupper() and isinstance(value, int) and name not in ours
    ]


def test_structures_have_the_headers_sizes_and_their_fields_its_places(header):
    assert len(STRUCTS) == 22
    for name in STRUCTS:
        kind = getattr(uapi, name)
        assert ctypes.sizeof(kind) == header[name], name
        for field, at in offsets(kind):
            assert at == header[f"{name}.{field}"], f"{name}.{field}"


def test_requests_have_the_headers_numbers(header):
    assert len(requests()) == 18
    for request in requests():
        assert request.number == header[request.name], request.name


def test_constants_have_the_headers_values(header):
    assert len(constants()) > 30
    for name in constants():
        assert getattr(uapi, name) == header[name], name


@pytest.mark.parametrize(("text", "number"), [("YUYV", 0x56595559), ("Y16", 0x20363159), ("NV12", 0x3231564E)])
def test_four_characters_and_back(text, number):
    assert uapi.fourcc_number(text) == number
    assert uapi.fourcc(number) == text
