"""Where a camera's pictures come from: `scheme:rest`, checked without opening anything."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

from pydantic import ValidationInfo

from edged.config.credentials import CRED, without_creds
from edged.config.scalars import TEXT_MAX, Checked, absolute
from edged.config.text import nearest, show, wanted

SCHEMES = {
    "file": "a video file; the path is relative to the file that names it",
    "scene": "a bundled, drawn scene",
    "rtsp": "a network camera",
    "rtsps": "a network camera over TLS",
    "http": "a stream over HTTP",
    "https": "a stream over HTTPS",
    "tcp": "a stream over a TCP connection",
    "udp": "a stream in UDP packets",
    "srt": "a stream over SRT",
    "v4l2": "a V4L2 device by its node, such as v4l2:/dev/video0, or by v4l2:bus:BUS_INFO",
    "csi": "a CSI camera of a Jetson by its number, such as csi:0",
    "shm": "a shared-memory ring of another process, by its name",
}
FINITE = frozenset({"file", "scene"})
RTSP = frozenset({"rtsp", "rtsps"})
V4L2 = frozenset({"v4l2"})
NETWORK = frozenset({"rtsp", "rtsps", "http", "https", "tcp", "udp", "srt"})
HOST_MAY_BE_EMPTY = frozenset({"udp", "srt"})

_SCHEME = re.compile(r"([A-Za-z][A-Za-z0-9+.\-]*):(.*)\Z", re.DOTALL)
_HOST_PORT = re.compile(r"(?P<host>\[[0-9A-Fa-f:.%]+\]|[^:\[\]]*)(?::(?P<port>[0-9]{1,5}))?\Z")
_CSI = re.compile(r"0\Z|[1-9][0-9]?\Z")
_BUS = re.compile(r"bus:[^#\s][^#]{0,30}(?:#[0-9]{1,2})?\Z")
_SHM = re.compile(r"/?[A-Za-z0-9_.\-]{1,64}\Z")
_QUERY_PASSWORD = re.compile(r"(?i)[?&](?:password|passwd|passphrase|pwd|token|secret|api_?key)=([^&]+)")


@dataclass(frozen=True)
class Source:
    """A camera's source. `${cred:NAME}` stays as written until `Secrets.expand` at the moment of opening."""

    scheme: str
    rest: str

    def __str__(self) -> str:
        return f"{self.scheme}:{self.rest}"


def _source(value: Any, info: ValidationInfo) -> Source:
    if isinstance(value, Source):
        value = str(value)
    if not isinstance(value, str) or not value.strip() or "\n" in value or len(value) > TEXT_MAX:
        raise wanted('a source such as "rtsp://192.0.2.7/stream1" or "v4l2:/dev/video0"', value)
    match = _SCHEME.match(value)
    if match is None:
        near = "v4l2" if value.startswith("/dev/") else "file"
        raise wanted("SCHEME:REST", value, f"; for a path write '{near}:' in front of it")
    scheme, rest = match.groups()
    if scheme not in SCHEMES:
        raise wanted("a source with a known scheme", value, nearest(scheme, SCHEMES))
    if scheme in NETWORK:
        _check_url(value, scheme, rest)
        return Source(scheme, rest)
    if "${" in rest:
        raise wanted(f"a {scheme} source without ${{cred:…}}", value, "; credentials are for network sources")
    if scheme == "file":
        return Source(scheme, _file_path(value, rest, info))
    _check_local(value, scheme, rest)
    return Source(scheme, rest)


def _file_path(value: str, rest: str, info: ValidationInfo) -> str:
    path = rest[2:] if rest.startswith("///") else rest
    if not path.strip() or path.startswith("//") or path.endswith("/"):
        raise wanted("file:PATH", value)
    return str(absolute(path, info))


def _check_local(value: str, scheme: str, rest: str) -> None:
    if scheme == "v4l2" and not _BUS.match(rest) and (not rest.startswith("/") or rest.endswith("/")):
        raise wanted("v4l2:/dev/…, an absolute path, or v4l2:bus:BUS_INFO", value)
    if scheme == "csi" and not _CSI.match(rest):
        raise wanted("csi:N with N from 0 to 99", value)
    if scheme == "shm" and not _SHM.match(rest):
        raise wanted("shm:NAME (letters, digits, _, - or ., at most 64)", value)
    if not rest.strip():
        raise wanted(f"{scheme}:NAME", value)


def _check_url(value: str, scheme: str, rest: str) -> None:
    bare = without_creds(rest)
    if "${" in bare:
        raise wanted("a URL whose ${…} are all ${cred:NAME} (letters, digits, _, - or ., at most 64)", value)
    if not rest.startswith("//") or re.search(r"\s", rest):
        raise wanted(f"{scheme}://HOST[:PORT][/PATH] without blanks", value)
    netloc = re.split(r"[/?#]", CRED.sub("x", rest)[2:], maxsplit=1)[0]
    match = _HOST_PORT.match(netloc.rpartition("@")[2])
    if match is None or (match["port"] and not 1 <= int(match["port"]) <= 65535):
        raise wanted(f"{scheme}://HOST[:PORT][/PATH] with a port from 1 to 65535", value)
    if not match["host"] and scheme not in HOST_MAY_BE_EMPTY:
        raise wanted(f"{scheme}://HOST[:PORT][/PATH]", value)
    _check_no_password(value, bare)


def _check_no_password(value: str, bare: str) -> None:
    """Refuse a password in plain text. `bare` is the URL's rest with every `${cred:…}` taken out."""
    userinfo = bare[2:].rpartition("@")[0]
    query = _QUERY_PASSWORD.search(bare)
    if userinfo.partition(":")[2] or query:
        raise ValueError(
            f"must not hold a password, got {show(value)}; "
            "put the password into a credential and write ${cred:NAME} in its place"
        )


SOURCE = Checked(_source, {"type": "string", "pattern": f"^({'|'.join(SCHEMES)}):.+$"})
