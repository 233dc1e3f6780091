"""Secrets: named in the configuration as `${cred:NAME}`, read from files made for them, never shown."""

from __future__ import annotations

import os
import re
import stat
from base64 import b64encode
from collections.abc import Iterable, Mapping
from pathlib import Path
from urllib.parse import quote, unquote

from edged.config.document import Document, decode, open_regular, parse_document
from edged.config.faults import Fault, config_error
from edged.config.text import hide_passwords, nearest
from edged.errors import ConfigError

CRED = re.compile(r"\$\{cred:([A-Za-z0-9_][A-Za-z0-9_.\-]{0,63})\}")
SECRETS_FILE = "secrets.yaml"
SECRET_BYTES_MAX = 65_536
PART_CHARS_MIN = 4

_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.\-]{0,63}\Z")


def cred_names(text: str) -> list[str]:
    """Return the names of the credentials that a text asks for, in order."""
    return CRED.findall(text)


def without_creds(text: str) -> str:
    """Return a text with every well-formed `${cred:NAME}` taken out."""
    return CRED.sub("", text)


class Secrets:
    """Secret values by name. `repr` and every error show names only."""

    def __init__(self, values: Mapping[str, str] | None = None, unusable: Mapping[str, str] | None = None) -> None:
        self._values = dict(values or {})
        self._unusable = dict(unusable or {})
        parts = sorted(_shapes(self._values.values()), key=len, reverse=True)
        self._known = re.compile("|".join(map(re.escape, parts))) if parts else None

    def __repr__(self) -> str:
        return f"Secrets({', '.join(sorted(self._values))})"

    def __contains__(self, name: object) -> bool:
        return name in self._values

    def __reduce__(self) -> str:
        raise TypeError("secrets are not pickled")

    @classmethod
    def from_environment(cls, directory: Path, environ: Mapping[str, str] = os.environ) -> Secrets:
        """Read systemd's credentials directory and, for names it lacks, `secrets.yaml` beside `edged.yaml`.

        Args:
            directory: the configuration directory.
            environ: where `CREDENTIALS_DIRECTORY` is looked up.

        Raises:
            ConfigError: `secrets.yaml` may be read by others, belongs to somebody else, or no map of texts.
        """
        unusable: dict[str, str] = {}
        values = _from_file(directory / SECRETS_FILE)
        given = environ.get("CREDENTIALS_DIRECTORY")
        if given:
            values.update(_from_directory(Path(given), unusable))
        return cls(values, unusable)

    def why_missing(self, name: str) -> str:
        """Return why a credential cannot be used and what to do about it, or nothing when it is there."""
        if name in self._values:
            return ""
        if name in self._unusable:
            return f"credential {name!r} cannot be used: {self._unusable[name]}"
        near = nearest(name, self._values)
        hint = near if near.startswith("; did") else ""
        return (
            f"credential {name!r} is not there{hint}; give it with LoadCredential={name}:… in the unit, "
            f"or in {SECRETS_FILE} (mode 0600)"
        )

    def expand(self, text: str) -> str:
        """Return a text with every `${cred:NAME}` replaced. The result must not be logged.

        Raises:
            ConfigError: a credential is missing; the text names it and shows no value.
        """
        for name in cred_names(text):
            why = self.why_missing(name)
            if why:
                raise ConfigError(why)
        return CRED.sub(lambda match: self._values[match[1]], text)

    def redact(self, text: str) -> str:
        """Return free text with every known secret and every `user:password@` of a URL replaced by `***`."""
        if self._known is not None:
            text = self._known.sub("***", text)
        return hide_passwords(text)


def _shapes(values: Iterable[str]) -> set[str]:
    """Return each secret as programs print it: whole, its password alone, encoded for URLs and headers."""
    shapes: set[str] = set()
    for value in values:
        password = value.partition(":")[2]
        plain = {value} | ({password} if len(password) >= PART_CHARS_MIN else set())
        for part in plain:
            shapes.update((part, quote(part, safe=""), quote(part), unquote(part), repr(part)[1:-1]))
        shapes.add(b64encode(value.encode()).decode())  # as HTTP basic authentication has it
    return {shape for shape in shapes if shape}


def _from_directory(directory: Path, unusable: dict[str, str]) -> dict[str, str]:
    values: dict[str, str] = {}
    try:
        paths = sorted(directory.iterdir())
    except OSError as exc:
        raise config_error(
            [Fault(str(directory), 1, (), f"$CREDENTIALS_DIRECTORY cannot be listed: {exc.strerror}")]
        ) from exc
    for path in paths:
        if not _NAME.match(path.name):
            continue
        try:
            if path.is_file():
                with path.open("rb") as stream:
                    values[path.name] = _secret(stream.read(SECRET_BYTES_MAX + 1))
        except OSError as exc:
            unusable[path.name] = f"{exc.strerror}"
        except ValueError as exc:
            unusable[path.name] = str(exc)
    return values


def _secret(raw: bytes) -> str:
    """Return one secret as text; what is wrong with it never shows it."""
    if len(raw) > SECRET_BYTES_MAX:
        raise ValueError(f"larger than {SECRET_BYTES_MAX} bytes")
    try:
        text = raw.decode("utf-8").rstrip("\r\n")
    except UnicodeDecodeError:
        text = "\0"
    if not text.isprintable():
        raise ValueError("must be one line of UTF-8 text")
    if not text:
        raise ValueError("it is empty")
    return text


def _from_file(path: Path) -> dict[str, str]:
    file = str(path)
    try:
        with open_regular(path) as stream:
            why = _why_exposed(os.fstat(stream.fileno()), file)
            raw = b"" if why else stream.read(SECRET_BYTES_MAX + 1)
    except FileNotFoundError:
        return {}
    except OSError as exc:
        raise config_error([Fault(file, 1, (), f"cannot be read: {exc.strerror}")]) from exc
    if why:
        raise config_error([Fault(file, 1, (), why)])
    return _parse_secrets(raw, file)


def _why_exposed(about: os.stat_result, file: str) -> str:
    if about.st_uid not in (os.geteuid(), 0):
        owner = f"belongs to user {about.st_uid}, must belong to the daemon's user or root"
        return f"{owner}; run: chown root {file}"
    if about.st_mode & 0o077:
        return f"mode {stat.S_IMODE(about.st_mode):04o} lets others use secrets; run: chmod 600 {file}"
    return ""


def _parse_secrets(raw: bytes, file: str) -> dict[str, str]:
    """Read `NAME: "value"` lines. A message of the YAML reader may quote a value: only its line is kept."""
    found: list[Fault] = []
    faults: list[Fault] = []
    if len(raw) > SECRET_BYTES_MAX:
        raise config_error([Fault(file, 1, (), f"larger than {SECRET_BYTES_MAX} bytes")])
    text = decode(raw, file, found)
    document = Document(file) if text is None else parse_document(text, file, found)
    for fault in found:
        faults.append(Fault(file, fault.line, (), 'not a plain NAME: "value" line (the text is not shown)'))
    for name, value in (document.data or {}).items():
        if document.is_bad((name,)):
            continue
        if not _NAME.match(name):
            faults.append(Fault(file, document.line((name,)), (), "a name must be letters, digits, _, - or ."))
        elif not isinstance(value, str):
            faults.append(document.fault((name,), "must be a text in quotes (the value is not shown)"))
        else:
            try:
                _secret(value.encode("utf-8"))
            except ValueError as exc:
                faults.append(document.fault((name,), str(exc)))
    if faults:
        raise config_error(faults)
    return {str(name): str(value) for name, value in (document.data or {}).items()}
