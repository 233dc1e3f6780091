"""Secrets come from files that are for them, and are shown nowhere."""

from __future__ import annotations

import os
import pickle

import pytest

from edged.config import CameraConfig, Secrets, Source, cred_names
from edged.errors import ConfigError

VALUE = "admin:hunter/2@ü x"


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "conf").mkdir()
    return tmp_path / "conf"


def put(path, text, mode=0o600):
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    path.chmod(mode)


def test_the_credentials_directory_comes_before_the_file(folder, tmp_path):
    given = tmp_path / "given"
    given.mkdir()
    put(given / "a", "from systemd\n")
    put(given / ".hidden", "x")
    (given / "folder").mkdir()
    put(folder / "secrets.yaml", 'a: "from the file"\nb: "b\'s"\n')
    secrets = Secrets.from_environment(folder, {"CREDENTIALS_DIRECTORY": str(given)})
    assert secrets.expand("${cred:a} ${cred:b} $ ${HOME}") == "from systemd b's $ ${HOME}"
    assert secrets.expand("nothing") == "nothing"
    assert Secrets.from_environment(folder, {}).expand("${cred:a}") == "from the file"


def test_without_any_there_are_none(folder):
    secrets = Secrets.from_environment(folder, {})
    assert "a" not in secrets
    with pytest.raises(ConfigError) as caught:
        secrets.expand("rtsp://${cred:a}@h")
    assert str(caught.value) == (
        "credential 'a' is not there; give it with LoadCredential=a:… in the unit, or in secrets.yaml (mode 0600)"
    )


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o644, 0o660, 0o620, 0o601])
def test_a_file_that_others_can_use_is_refused_with_the_remedy(folder, mode):
    put(folder / "secrets.yaml", "a: 'x'\n", mode)
    with pytest.raises(ConfigError) as caught:
        Secrets.from_environment(folder, {})
    path = folder / "secrets.yaml"
    assert str(caught.value) == (
        f"{path}:1: mode {mode:04o} lets others use secrets; run: chmod 600 {path}\n1 fault(s); nothing was started"
    )


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a file away")
def test_a_file_of_somebody_else_is_refused(folder):
    put(folder / "secrets.yaml", "a: 'x'\n")
    os.chown(folder / "secrets.yaml", 65534, 65534)
    with pytest.raises(ConfigError, match="belongs to user 65534, must belong to the daemon's user or root; run: "):
        Secrets.from_environment(folder, {})


@pytest.mark.parametrize(
    ("text", "line", "what"),
    [
        ("a: hunter2: x\n", 1, 'not a plain NAME: "value" line (the text is not shown)'),
        ("a: !hunter2 hunter2\n", 1, 'not a plain NAME: "value" line (the text is not shown)'),
        ("hunter2\n", 1, 'not a plain NAME: "value" line (the text is not shown)'),
        ("x: 'y'\na: 22222222\n", 2, "a: must be a text in quotes (the value is not shown)"),
        ("a: [hunter2]\n", 1, "a: must be a text in quotes (the value is not shown)"),
        ("a: ''\n", 1, "a: it is empty"),
        ("a: \"hunter2\\nx\"\n", 1, "a: must be one line of UTF-8 text"),
        ("hunter2 hunter2: x\n", 1, "a name must be letters, digits, _, - or ."),
        (b"a: hunter2\xff\n", 1, 'not a plain NAME: "value" line (the text is not shown)'),
        ("a: '" + "hunter2" * 10_000 + "'", 1, "larger than 65536 bytes"),
    ],
)  # fmt: skip
def test_a_faulty_file_is_refused_without_showing_what_is_in_it(folder, text, line, what):
    put(folder / "secrets.yaml", text)
    with pytest.raises(ConfigError) as caught:
        Secrets.from_environment(folder, {})
    assert f"{folder}/secrets.yaml:{line}: {what}\n" in str(caught.value)
    assert "hunter2" not in str(caught.value)


def test_a_folder_in_its_place_is_refused(folder):
    (folder / "secrets.yaml").mkdir()
    with pytest.raises(ConfigError, match="secrets.yaml:1: cannot be read: not a regular file"):
        Secrets.from_environment(folder, {})


def test_a_credential_that_is_no_text_is_named_when_it_is_needed(folder, tmp_path):
    given = tmp_path / "given"
    given.mkdir()
    put(given / "key", b"\xff\x00")
    put(given / "none", "\n")
    secrets = Secrets.from_environment(folder, {"CREDENTIALS_DIRECTORY": str(given)})
    assert secrets.why_missing("key") == "credential 'key' cannot be used: must be one line of UTF-8 text"
    assert secrets.why_missing("none") == "credential 'none' cannot be used: it is empty"


def test_a_credentials_directory_that_is_not_there_is_a_fault(folder, tmp_path):
    with pytest.raises(ConfigError, match=r"gone:1: \$CREDENTIALS_DIRECTORY cannot be listed: No such file"):
        Secrets.from_environment(folder, {"CREDENTIALS_DIRECTORY": str(tmp_path / "gone")})


def test_nothing_that_describes_secrets_shows_them():
    secrets = Secrets({"a": VALUE, "b": "hunter2"})
    assert repr(secrets) == str(secrets) == "Secrets(a, b)"
    with pytest.raises(ConfigError) as caught:
        secrets.expand("${cred:a}${cred:c}")
    assert "hunter" not in str(caught.value)
    with pytest.raises(TypeError):
        pickle.dumps(secrets)


@pytest.mark.parametrize(
    "text",
    [
        VALUE,
        "hunter/2@ü x",
        "admin%3Ahunter%2F2%40%C3%BC%20x",
        "hunter%2F2%40%C3%BC%20x",
        "YWRtaW46aHVudGVyLzJAw7wgeA==",
        repr(VALUE),
        "rtsp://admin:hunter/2@ü x@192.0.2.7/1",
    ],
)
def test_a_known_secret_is_redacted_in_all_its_shapes(text):
    said = Secrets({"a": VALUE}).redact(f"cannot open {text}: no route")
    assert "***" in said
    assert "hunter" not in said
    assert "aHVudGVy" not in said
    assert said.endswith(": no route")


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("rtsp://u:p@h/1", "rtsp://***@h/1"),
        ("'rtsp://u:p@h/1' failed", "'rtsp://***@h/1' failed"),
        ("rtsp://u:p@ss@h/1", "rtsp://***@h/1"),
        ("rtsp://u:p/a?s#s@h/1", "rtsp://***@h/1"),
        ("rtsp://token@h/1", "rtsp://***@h/1"),
        ("http://h/a?password=x&b=1", "http://h/a?password=***&b=1"),
        ("srt://h:1?passphrase=abc", "srt://h:1?passphrase=***"),
        ("http://h:80/a and b@c", "http://h:80/a and b@c"),
        ("mail me@h", "mail me@h"),
        ("", ""),
    ],
)
def test_passwords_in_urls_are_redacted_even_if_they_are_no_secret_of_ours(text, expected):
    assert Secrets().redact(text) == expected


def test_the_longest_secret_is_redacted_first():
    assert Secrets({"a": "hunter", "b": "hunter2000"}).redact("hunter2000 hunter") == "*** ***"


def test_a_model_keeps_the_name_and_never_the_value():
    camera = CameraConfig(id="a", source="rtsp://${cred:x}@h/1")  # type: ignore[arg-type]
    assert camera.source == Source("rtsp", "//${cred:x}@h/1")
    assert cred_names(str(camera.source)) == ["x"]
    assert "${cred:x}" in repr(camera)
