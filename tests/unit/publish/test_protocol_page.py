"""The page for integrators, the schema and the errors say the same."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from edged.errors import EdgedError
from edged.publish.schema import SCHEMA

PAGE = (Path(__file__).parents[3] / "docs/protocol.md").read_text()


def rows(schema, above=""):
    """Yield each key below a schema, with dots, and what is said of it."""
    for name, one in schema["properties"].items():
        yield above + name, ("" if name in schema["required"] else "optional: ") + one["description"]
        for below, at in ((one, ""), (one.get("items", {}), "[]"), (one.get("additionalProperties", {}), ".CAMERA")):
            if "properties" in below:
                yield from rows(below, f"{above}{name}{at}.")


def table(head):
    """Return the rows of the page's table that begins with a head."""
    lines = PAGE.split(f"\n| {head} |", 1)[1].split("\n\n")[0].splitlines()
    return [tuple(cell.strip() for cell in line.strip("|").split(" | ")) for line in lines[2:]]


@pytest.mark.parametrize("kind", SCHEMA)
def test_the_page_has_every_key_of_a_message_in_the_words_of_the_schema(kind):
    assert table(f"key of `{SCHEMA[kind]['title']}`") == [(f"`{key}`", said) for key, said in rows(SCHEMA[kind])]


def kinds(above):
    for kind in above.__subclasses__():
        yield kind
        yield from kinds(kind)


def test_the_page_has_every_exit_code():
    codes = [int(code) for code, _ in table("code | when")]
    assert codes == sorted({0, EdgedError.exit_code} | {kind.exit_code for kind in kinds(EdgedError)})


def test_the_page_says_what_rundir_is():
    assert re.search(r"^RUNDIR, .* is `\$RUNTIME_DIRECTORY` .*\n", PAGE, re.MULTILINE)
