"""CURVE keys of a client, from the files that pyzmq writes and from files that are none."""

from __future__ import annotations

import pytest
import zmq
import zmq.auth

from edged.errors import UsageError
from edged.publish.keys import CurveKeys, is_key

TEXT = "a" * 40


@pytest.fixture
def pair(tmp_path):
    return zmq.auth.create_certificates(tmp_path, "fleet")


def test_a_servers_key_is_a_text_or_a_file_and_a_clients_pair_a_file(pair, tmp_path):
    public, secret = (key.decode() for key in zmq.auth.load_certificate(pair[1]))
    server = zmq.curve_keypair()[0].decode()
    assert CurveKeys.read(server, pair[1]) == CurveKeys(server, public, secret)
    assert CurveKeys.read(pair[0], pair[1]) == CurveKeys(public, public, secret)
    assert CurveKeys.read(str(pair[0]), tmp_path / "fleet.key_secret") == CurveKeys(public, public, secret)
    assert secret not in repr(CurveKeys(server, public, secret))


@pytest.mark.parametrize("text", [TEXT[:39], TEXT + "a", "~" * 40, "%" * 40, "é" * 40, "é" * 20, ""])
def test_what_is_no_key(text):
    assert is_key(TEXT)
    assert not is_key(text)


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (None, "No such file or directory"),
        (b"", "has no CURVE keys"),
        (b"public-key\n", "has no CURVE keys"),
        (b"\xff\xfe", "has no CURVE keys"),
        (b'public-key = "\xff"\n', "has no CURVE keys"),
        (b'public-key = "short"\n', "has a key that is not 40 characters"),
        (b'public-key = "' + TEXT.encode() + b'"\nsecret-key = "x"\n', "has a key that is not 40 characters"),
        (b'public-key = "' + TEXT.encode() + b'"\n', "has no secret key; the file that has it ends in .key_secret"),
    ],
)
def test_a_file_that_is_none_is_named_with_what_it_lacks(tmp_path, content, said):
    file = tmp_path / "mine.key_secret"
    if content is not None:
        file.write_bytes(content)
    with pytest.raises(UsageError) as refused:
        CurveKeys.read(TEXT, file)
    assert str(refused.value).startswith(f"{file}: {said}")
