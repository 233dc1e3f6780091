"""Names to classes: the nearest name, what is missing, and our own bugs."""

from __future__ import annotations

import pytest

from edged.errors import BackendUnavailable, ConfigError
from edged.registry import Registry, Spec


@pytest.fixture
def registry(tmp_path, monkeypatch):
    (tmp_path / "needs_much.py").write_text("import a_library_that_nobody_has\n")
    (tmp_path / "fine.py").write_text("class Fine: pass\n")
    monkeypatch.syspath_prepend(tmp_path)
    return Registry(
        "thing",
        {
            "fine": Spec("fine:Fine", "nothing"),
            "missing": Spec("needs_much:Thing", "the much wheel"),
            "broken": Spec("edged.no_such_module:Thing", "nothing"),
            "later": Spec(None, "a later version"),
        },
    )


def test_a_name_gives_its_class(registry):
    assert registry.load("fine").__name__ == "Fine"
    assert registry.names() == ["fine", "missing", "broken", "later"]


@pytest.mark.parametrize(
    ("name", "text"),
    [("fime", "did you mean 'fine'?"), ("zzz", "choose from fine, missing, broken, later")],
)
def test_an_unknown_name_is_answered_with_the_nearest_or_with_all(registry, name, text):
    for ask in (registry.load, registry.check):
        with pytest.raises(ConfigError) as caught:
            ask(name)
        assert str(caught.value) == f"unknown thing {name!r}; {text}"


def test_a_missing_library_is_said_in_the_users_words(registry):
    with pytest.raises(BackendUnavailable) as caught:
        registry.load("missing")
    assert str(caught.value) == "thing 'missing' needs the much wheel (No module named 'a_library_that_nobody_has')"
    with pytest.raises(BackendUnavailable, match="^thing 'later' needs a later version$"):
        registry.load("later")


def test_our_own_bug_is_not_dressed_up_as_a_missing_library(registry):
    with pytest.raises(ModuleNotFoundError, match="no_such_module"):
        registry.load("broken")
