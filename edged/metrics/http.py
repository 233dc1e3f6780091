"""As much of HTTP/1.1 as a scraper needs: one request without a body, one answer, and the connection is closed."""

from __future__ import annotations

from dataclasses import dataclass
from http import HTTPStatus

from edged.metrics.page import CONTENT_TYPE, Page

HEAD_MAX_BYTES = 8192
PATH = "/metrics"
END = b"\r\n\r\n"


@dataclass(frozen=True)
class Request:
    """What is asked for."""

    method: str
    path: str
    packed: bool


def read(head: bytes) -> Request | None:
    """Return the request in a head without its empty line, None where it is none."""
    line, *fields = head.decode("latin-1").split("\r\n")
    words = line.split(" ")
    if len(words) != 3 or not words[2].startswith("HTTP/1.") or not words[0].isalpha():
        return None
    packed = False
    for field in fields:
        name, _, value = field.partition(":")
        if name.strip().lower() == "accept-encoding":
            codings = {one.partition(";")[0].strip(): one for one in value.lower().split(",")}
            packed = "gzip" in codings and not codings["gzip"].replace(" ", "").endswith((";q=0", ";q=0.0"))
    return Request(words[0], words[1].partition("?")[0], packed)


def answer(head: bytes, page: Page) -> bytes:
    """Return the answer to a head, and count it."""
    request = read(head)
    if request is None:
        return refusal(HTTPStatus.BAD_REQUEST, page)
    if request.path != PATH:
        return refusal(HTTPStatus.NOT_FOUND, page, f"metrics are at {PATH}")
    if request.method not in ("GET", "HEAD"):
        return refusal(HTTPStatus.METHOD_NOT_ALLOWED, page, "GET or HEAD")
    body = page.body(request.packed)
    if body is None:
        return refusal(HTTPStatus.SERVICE_UNAVAILABLE, page, "no status yet")
    coding = "Content-Encoding: gzip\r\nVary: Accept-Encoding\r\n" if request.packed else ""
    return _message(HTTPStatus.OK, page, CONTENT_TYPE, coding, body, request.method == "HEAD")


def refusal(status: HTTPStatus, page: Page, text: str = "") -> bytes:
    """Return an answer that is an error, and count it."""
    return _message(status, page, "text/plain; charset=utf-8", "", f"{text or status.phrase}\n".encode(), False)


def _message(status: HTTPStatus, page: Page, kind: str, more: str, body: bytes, head_only: bool) -> bytes:
    page.answers[status.value] += 1
    head = (
        f"HTTP/1.1 {status.value} {status.phrase}\r\nContent-Type: {kind}\r\n{more}"
        f"Content-Length: {len(body)}\r\nConnection: close\r\n\r\n"
    )
    return head.encode("ascii") + (b"" if head_only else body)
