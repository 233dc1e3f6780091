"""The engine store: built engines, each beside the manifest that says what it is and whether it may be used.

An engine is found by its key, which holds all that it depends on. A built engine is as good as code: one that others
could have written, or that is not the file its manifest describes, is refused, and the reason names the remedy.
The manifest is written last, so an engine without a complete build behind it does not exist.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import hashlib
import json
import os
import pwd
import stat
import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

from edged.engines.base import EngineRequest
from edged.engines.onnx_files import model_files
from edged.errors import BackendUnavailable, ConfigError

FORMAT = 1
MANIFEST_BYTES_MAX = 4_000_000
BUILD = "edged engine build"
PLAIN_WORDS = {
    "model_sha256": "the model has changed since it was built",
    "input": "the pictures' input format has changed since it was built",
    "device": "it was built for another device",
    "batch": "it was built for other batch sizes",
    "gpu_fallback": "it was built with another gpu_fallback",
    "plugins": "the plug-in libraries have changed since it was built",
}
BUILT_ELSEWHERE = {
    "tensorrt": "it was built with TensorRT {}, here is {}",
    "cuda": "it was built with CUDA {}, here is {}",
    "capability": "it was built for compute capability {}, this GPU has {}",
    "gpu": "it was built on {}, here is {}",
}
MUST_BE_COMPARED = ("int8",)  # others may be used before frames for a comparison have been collected
ASIDE_BYTES_MAX = 256_000_000
PART = ".part-"  # what a file's name begins with while it is written


class EngineMissing(BackendUnavailable):
    """No such engine was built, or only one for other facts. `why` is its text without the remedy."""

    def __init__(self, why: str, remedy: str = BUILD) -> None:
        super().__init__(f"{why}; run: {remedy}")
        self.why, self._remedy = why, remedy

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (self.why, self._remedy)


@dataclass(frozen=True)
class EngineKey:
    """All that a built engine depends on.

    `facts` are further names and values in text: the model's SHA-256 and its input format for every back end;
    a back end whose engines fit one library release or one device adds those.
    """

    model: str
    backend: str
    precision: str
    facts: Mapping[str, str]

    @property
    def kind(self) -> str:
        """Return what versions of one engine have in common, as their file names begin."""
        return f"{Path(self.model).stem}.{self.backend}.{self.precision}"

    @property
    def name(self) -> str:
        """Return the name of its manifest, without suffix."""
        digest = hashlib.sha256(json.dumps(asdict(self), sort_keys=True).encode()).hexdigest()
        return f"{self.kind}.{digest[:12]}"

    def __str__(self) -> str:
        return f"{self.precision} engine of {self.model} for {self.backend}"


@dataclass(frozen=True)
class Manifest:
    """What is known of one built engine.

    `verified` has a map of figures for each task it was compared with FP32 for, with at least `drop` (None where
    nothing could be compared), `limit` and `by`, the measure's name. `about` is for people: who built it, when, how.
    """

    key: EngineKey
    file: str
    sha256: str
    verified: Mapping[str, Mapping[str, Any]]
    about: Mapping[str, Any] = field(default_factory=dict)

    def to_json(self) -> dict[str, Any]:
        """Return the manifest as its file has it."""
        return {"format": FORMAT, **asdict(self)}

    def refusal(self) -> str:
        """Return why its figures forbid to use it, or nothing."""
        if not self.verified and self.key.precision in MUST_BE_COMPARED:
            return "it was never compared with fp32"
        return next(filter(None, (_loss(*one, one[1]["limit"]) for one in self.verified.items())), "")

    def unfit(self, task: str, limit: float) -> str:
        """Return why a task may not use it whose limit is this one by now, with the remedy; or nothing."""
        figures = self.verified.get(task)
        if figures is not None:
            why = _loss(task, figures, limit)
            return f"{self.key}: refused: {why}; raise it, or use another precision" if why else ""
        if self.key.precision not in MUST_BE_COMPARED:
            return ""
        return f"{self.key}: refused: for task {task} it was never compared with fp32; run: edged engine verify {task}"


def _loss(task: str, figures: Mapping[str, Any], limit: float) -> str:
    """Return why a task's figures are not good enough, or nothing."""
    if figures["drop"] is None:
        return f"for task {task} nothing could be compared: fp32 finds nothing in the frames kept for it"
    if figures["drop"] <= limit:  # a NaN is not good
        return ""
    return (
        f"for task {task} it loses {figures['drop']:.4f} {figures['by']} against fp32, max_accuracy_drop is {limit:g}"
    )


def _difference(name: str, built: Any, here: str) -> str:
    if name in PLAIN_WORDS:
        return PLAIN_WORDS[name]
    return BUILT_ELSEWHERE.get(name, f"it was built for {name} {{}}, here is {{}}").format(built, here)


def engine_key(request: EngineRequest, backend: str, further: Mapping[str, str] | None = None) -> EngineKey:
    """Return the key of the engine that serves a request, from the model's bytes as they are now."""
    wanted = request.input
    picture = f"{wanted.fit} {wanted.color} mean={wanted.mean} std={wanted.std} pad={wanted.pad}"
    facts = {"model_sha256": model_sha256(request.onnx), "input": picture, **(further or {})}
    return EngineKey(request.onnx.name, backend, request.precision, facts)


def model_sha256(onnx: Path) -> str:
    """Return the SHA-256 of a model with its external weights. Raise `ConfigError` for files that cannot be read."""
    first, *others = map(file_sha256, model_files(onnx))
    return hashlib.sha256("".join((first, *others)).encode()).hexdigest() if others else first


def file_sha256(path: Path) -> str:
    """Return the SHA-256 of a file in hexadecimal. Raise `ConfigError` for one that cannot be read."""
    digest = hashlib.sha256()
    try:
        with path.open("rb") as file:
            while block := file.read(1 << 20):
                digest.update(block)
    except OSError as exc:
        raise ConfigError(f"{path}: cannot be read: {exc.strerror}") from exc
    return digest.hexdigest()


class Store:
    """One folder of engines. Reading needs no lock; whoever writes holds `writing`.

    Args:
        root: the folder.
        looking: whoever asks runs none of them: what the folder's owner may use is then good for root too.
    """

    def __init__(self, root: Path, *, looking: bool = False) -> None:
        self.root, self._looking = root, looking

    def find(self, key: EngineKey) -> tuple[Path, Manifest]:
        """Return an engine that may be used, with its manifest.

        Raises:
            BackendUnavailable: there is none, or it is refused; the text has the reason and the remedy.
        """
        manifest = self._usable(key)
        return self.file_of(manifest), manifest

    def read(self, key: EngineKey) -> tuple[bytes, Manifest]:
        """Return the bytes of an engine that may be used, the very ones that were judged, with its manifest.

        Raises:
            BackendUnavailable: there is none, or it is refused; the text has the reason and the remedy.
        """
        manifest = self._usable(key)
        return self._bytes_of(manifest), manifest

    def _usable(self, key: EngineKey) -> Manifest:
        manifest = self.manifest(key)
        if why := manifest.refusal():
            raise BackendUnavailable(
                f"{key}: refused: {why}; raise max_accuracy_drop and run: edged engine verify, or use another precision"
            )
        return manifest

    def manifest(self, key: EngineKey) -> Manifest:
        """Return a trusted manifest, whatever its figures say.

        Raises:
            EngineMissing: there is none.
            BackendUnavailable: it cannot be trusted or read.
        """
        path = self._manifest_path(key)
        if _status(path) is None:
            raise EngineMissing(f"{key}: {self._why_none(key)}")
        self._refuse_untrusted(self.root)
        self._refuse_untrusted(path)
        found = read_manifest(path)
        if found.key != key:
            raise BackendUnavailable(f"{key}: {path} describes another engine; run: {BUILD}")
        return found

    def file_of(self, manifest: Manifest) -> Path:
        """Return a manifest's engine file. Raise `BackendUnavailable` for one that is not the file that was built."""
        self._bytes_of(manifest)
        return self.root / manifest.file

    def _bytes_of(self, manifest: Manifest) -> bytes:
        path = self.root / manifest.file
        missing = f"{manifest.key}: {path} is missing; run: {BUILD}"
        if path.parent != self.root:
            raise BackendUnavailable(missing)
        try:
            with path.open("rb") as file:
                self._refuse_untrusted(path, os.fstat(file.fileno()))
                data = file.read()
        except FileNotFoundError as exc:
            raise BackendUnavailable(missing) from exc
        except OSError as exc:
            raise BackendUnavailable(f"{manifest.key}: {path}: cannot be read: {exc.strerror}") from exc
        if hashlib.sha256(data).hexdigest() != manifest.sha256:
            raise BackendUnavailable(f"{manifest.key}: {path} is not the file its manifest describes; run: {BUILD}")
        return data

    def _why_none(self, key: EngineKey) -> str:
        """Return what stands in the way of the newest engine of the same kind, or that there is none."""
        found = {path: _status(path) for path in self.root.glob(f"{key.kind}.*.json")}
        ages = {path: status.st_mtime_ns for path, status in found.items() if status is not None}
        for path in sorted(ages, key=ages.__getitem__, reverse=True):
            try:
                facts = read_manifest(path).key.facts
            except BackendUnavailable:
                continue
            differ = [name for name in key.facts if facts.get(name) != key.facts[name]]
            return "; ".join(_difference(name, facts.get(name), key.facts[name]) for name in differ)
        return f"none is built in {self.root}"

    def _manifest_path(self, key: EngineKey) -> Path:
        return self.root / f"{key.name}.json"

    @contextlib.contextmanager
    def writing(self) -> Iterator[None]:
        """Hold the store for writing; make its folder where it is missing.

        Raises:
            BackendUnavailable: another process is writing, the folder cannot be made or written, or root asks and it
                is somebody else's, who could not use what root leaves there and could make root run what he did.
        """
        with writes(self.root):
            for folder in reversed([one for one in (self.root, *self.root.parents) if not one.is_dir()]):
                with contextlib.suppress(FileExistsError):
                    folder.mkdir()
                    folder.chmod(0o755)  # whatever the umask: the daemon's user must get there
            owner = self.root.stat().st_uid
            if os.geteuid() == 0 and owner != 0:
                raise BackendUnavailable(
                    f"{self.root} belongs to {user_name(owner)}; run it as that user: "
                    f"sudo -u {user_name(owner)} edged engine ..."
                )
            lock = (self.root / ".lock").open("a")
        with lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError as exc:
                raise BackendUnavailable(f"{self.root} is being written by another edged engine command") from exc
            for left in (*self.root.glob(f"{PART}*"), *self.root.glob(f"calibration/*/{PART}*")):
                left.unlink(missing_ok=True)  # by a write that was killed
            yield

    def _refuse_untrusted(self, path: Path, status: os.stat_result | None = None) -> None:
        """Raise `BackendUnavailable` for a file or folder that somebody else owns or may write."""
        status, folder = status or _status(path), _status(self.root)
        if status is None or folder is None:
            raise BackendUnavailable(f"{path} is missing; run: {BUILD}")
        allowed = {os.geteuid(), 0, *([folder.st_uid] if self._looking and os.geteuid() == 0 else [])}
        if status.st_uid not in allowed:
            raise BackendUnavailable(
                f"{path} belongs to uid {status.st_uid}, allowed are root and uid {os.geteuid()}; "
                f"run {BUILD} as one of these"
            )
        if status.st_mode & (stat.S_IWGRP | stat.S_IWOTH):
            raise BackendUnavailable(
                f"{path} can be written by others ({stat.filemode(status.st_mode)}); run: chmod go-w {path}"
            )

    def install(self, built: Path, manifest: Manifest) -> Manifest:
        """Take a built file in and make it the engine of its key. Of older ones the last is kept."""
        digest = file_sha256(built)
        name = f"{manifest.key.name}.{digest[:8]}{built.suffix}"
        path = self._manifest_path(manifest.key)
        kept = {name}
        with contextlib.suppress(BackendUnavailable):  # no manifest yet, or one that is damaged
            kept.add(read_manifest(path).file)
        with writes(self.root):
            write_whole(self.root / name, built.read_bytes())
        manifest = replace(manifest, file=name, sha256=digest)
        self.write_manifest(manifest)
        for old in self.root.glob(f"{manifest.key.name}.*{built.suffix}"):
            if old.name not in kept:
                old.unlink(missing_ok=True)
        return manifest

    def read_aside(self, name: str) -> bytes:
        """Return a file that only speeds building up, such as a timing cache; nothing where it is not to be trusted."""
        path = self.root / name
        try:
            self._refuse_untrusted(path)
            return path.read_bytes() if path.stat().st_size <= ASIDE_BYTES_MAX else b""
        except (BackendUnavailable, OSError):
            return b""

    def write_aside(self, name: str, data: bytes) -> None:
        """Replace such a file in one step."""
        with writes(self.root):
            write_whole(self.root / name, data)

    def write_manifest(self, manifest: Manifest) -> None:
        """Replace an engine's manifest in one step."""
        text = json.dumps(manifest.to_json(), indent=2, ensure_ascii=False)
        with writes(self.root):
            write_whole(self._manifest_path(manifest.key), text.encode())


def read_manifest(path: Path) -> Manifest:
    """Read a manifest. Raise `BackendUnavailable` for a file that is none."""
    try:
        with path.open("rb") as file:
            data = json.loads(file.read(MANIFEST_BYTES_MAX))
        if data["format"] != FORMAT:
            raise BackendUnavailable(f"{path}: format {data['format']!r}, this edged reads {FORMAT}; run: {BUILD}")
        key = EngineKey(**data["key"])
        verified = {task: {"by": "", **figures} for task, figures in data["verified"].items()}
        for figures in verified.values():
            figures["limit"] = float(figures["limit"])
            figures["drop"] = None if figures["drop"] is None else float(figures["drop"])
        return Manifest(key, str(data["file"]), str(data["sha256"]), verified, data["about"])
    except OSError as exc:
        raise BackendUnavailable(f"{path}: cannot be read: {exc.strerror}") from exc
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError) as exc:
        raise BackendUnavailable(f"{path}: not a manifest of an engine ({exc!r}); run: {BUILD}") from exc


def _status(path: Path) -> os.stat_result | None:
    """Return a file's status, None where there is none. Raise `BackendUnavailable` where that cannot be known."""
    try:
        return path.stat()
    except (FileNotFoundError, NotADirectoryError):
        return None
    except OSError as exc:
        raise BackendUnavailable(f"{path}: cannot be looked at: {exc.strerror}") from exc


def user_name(uid: int) -> str:
    """Return a user's name, or `#` and the number where there is none: `sudo -u` takes both."""
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return f"#{uid}"


def write_whole(path: Path, data: bytes) -> None:
    """Write a file that is there as a whole or not at all, readable by everyone, on the disk when this returns."""
    descriptor, name = tempfile.mkstemp(dir=path.parent, prefix=PART)
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(data)
            file.flush()
            os.fchmod(file.fileno(), 0o644)
            os.fsync(file.fileno())
        Path(name).replace(path)
    except BaseException:
        Path(name).unlink(missing_ok=True)
        raise
    folder = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)


@contextlib.contextmanager
def writes(root: Path) -> Iterator[None]:
    """Translate what keeps the store from being written into one clear line."""
    try:
        yield
    except OSError as exc:
        remedy = {
            errno.ENOSPC: "; free some space there, or set engines.store in edged.yaml",
            errno.EACCES: "; run it as the store's owner, or set engines.store in edged.yaml",
            errno.EROFS: "; set engines.store in edged.yaml",
        }.get(exc.errno or 0, "")
        raise BackendUnavailable(f"cannot write the engine store {root}: {exc.strerror}{remedy}") from exc
