"""What a plug-in's parser may return, and what is said of the rest."""

from __future__ import annotations

import pickle
import re
import sys
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from edged.errors import ConfigError
from edged.geometry import fit_frame
from edged.publish.wire import pack, result_message, unpack
from edged.results import Box, EngineUse, Found, Lane, Latency, Mask, Result
from edged.tasks.base import ParserSettings
from edged.tasks.checked import Checked, CheckedClass
from edged.tensor import InputFormat, ModelSpec

BOX = Box("a", 0, 0.5, 1.0, 2.0, 3.0, 4.0)
LANE = Lane("line", 0.5, ((1.0, 2.0), (3.0, 4.0)))
MASK = Mask("area", 8, 1, (0.0, 0.0, 8.0, 1.0), b"\x80")
PLAIN = Found((BOX, replace(BOX, track_id=7, attrs={"a": [1, 2.5, None, True], "b": {"c": "x"}})), (LANE,), (MASK,))
RESULT = Result(
    "t", "c", 0, 64, 48, 1, 1, "arrival", Latency(1, 1, 1, 1, 1, 5), EngineUse("m", "onnxruntime", "cpu", "fp32", 1)
)
FIT = fit_frame((64, 48), (64, 48), "letterbox")
ENDLESS: dict[str, Any] = {}
ENDLESS["more"] = ENDLESS


def test_a_parser_cannot_write_to_what_others_read():
    outputs = {"out": np.ones((1, 4), np.float32)}

    class Writes:
        def parse(self, outputs: Any, index: int, fit: Any) -> Found:
            assert (len(outputs), list(outputs), outputs["out"][index].sum()) == (1, ["out"], 4)
            outputs["out"][index] *= 0.1
            return Found()

    class Empties:
        def parse(self, outputs: Any, index: int, fit: Any) -> Found:
            outputs.clear()
            return Found()

    for parser, said in ((Writes(), "read-only"), (Empties(), "has no attribute 'clear'")):
        with pytest.raises((ValueError, AttributeError), match=said):
            Checked("mine", parser).parse(outputs, 0, FIT)
    assert outputs["out"].sum() == 4
    outputs["out"][0] = 2  # still its owner's


def checked(found: Any) -> Found:
    class Parser:
        def parse(self, *_: Any) -> Any:
            return found

    return Checked("mine", Parser()).parse({}, 0, FIT)


def same_kinds(value: Any, other: Any) -> bool:
    """Tell whether two messages are equal down to the kinds of their numbers."""
    return repr(value) == repr(other)


@pytest.mark.parametrize(
    "found",
    [
        PLAIN,
        Found(lanes=()),
        replace(PLAIN, boxes=list(PLAIN.boxes), lanes=[LANE], masks=[MASK]),
    ],
)
def test_what_is_plain_stays_as_it_is(found):
    assert checked(found) == replace(
        found, boxes=tuple(found.boxes), lanes=None if found.lanes is None else tuple(found.lanes),
        masks=tuple(found.masks),
    )  # fmt: skip


def test_numbers_of_numpy_become_python_s():
    whole, half = np.int64(3), np.float32(0.5)
    attrs = {"n": np.uint8(2), "x": np.float64(0.5), "yes": np.bool_(True), "deep": ({"x": half},)}
    box = Box(np.str_("a"), whole, half, half, half, np.float16(0.5), 3, np.uint64(2**63), attrs)
    lane = Lane("line", half, np.array([[1, 2], [3, 4]], np.float32))
    mask = Mask("area", whole, whole, np.zeros(4, np.float32), b"")
    found = checked(Found((box,), (lane,), (mask,)))
    plain = {"n": 2, "x": 0.5, "yes": True, "deep": [{"x": 0.5}]}
    assert found == Found(
        (Box("a", 3, 0.5, 0.5, 0.5, 0.5, 3.0, 2**63, plain),),
        (Lane("line", 0.5, ((1.0, 2.0), (3.0, 4.0))),),
        (Mask("area", 3, 3, (0.0, 0.0, 0.0, 0.0), b""),),
    )
    message = result_message(replace(RESULT, found=pickle.loads(pickle.dumps(found))), 0, 0, "boot", 1, 1)
    assert same_kinds(unpack(pack(message)), message)


@pytest.mark.parametrize(
    ("found", "text"),
    [
        (None, "a result as NoneType in place of Found"),
        ([BOX], "a result as list in place of Found"),
        (Found(one for one in [BOX]), "boxes as generator in place of list"),
        (Found(((0, 0, 1, 1),)), "boxes[0] as tuple in place of Box"),
        (Found((BOX, replace(BOX, score=np.zeros(1)))), "boxes[1].score as numpy.ndarray in place of float"),
        (Found((replace(BOX, score=float("nan")),)), "boxes[0].score as nan, which is no number that a message"),
        (Found((replace(BOX, score=7.5),)), "boxes[0].score as 7.5; allowed is 0 to 1"),
        (Found((replace(BOX, score=-0.1),)), "boxes[0].score as -0.1; allowed is 0 to 1"),
        (Found((replace(BOX, x1=float("-inf")),)), "boxes[0].x1 as -inf, which is no number that a message may have"),
        (Found((replace(BOX, attrs={"a": np.float32("nan")}),)), "boxes[0].attrs.a as nan, which is no number that a"),
        (Found(lanes=(replace(LANE, score=2),)), "lanes[0].score as 2; allowed is 0 to 1"),
        (Found(lanes=(replace(LANE, points=((1, float("inf")),)),)), "lanes[0].points[0][1] as inf, which is no numb"),
        (Found((replace(BOX, x2="3"),)), "boxes[0].x2 as str in place of float"),
        (Found((replace(BOX, label=3),)), "boxes[0].label as int in place of str"),
        (Found((replace(BOX, label="\ud800"),)), r"boxes[0].label as '\ud800', which is no text: surrogates not allow"),
        (Found((replace(BOX, class_id=0.5),)), "boxes[0].class_id as float in place of int"),
        (Found((replace(BOX, track_id=2**64),)), "boxes[0].track_id as a number of 65 bits, a message has 64 for it"),
        (Found((replace(BOX, attrs=[]),)), "boxes[0].attrs as list in place of Mapping"),
        (Found((replace(BOX, attrs={"a": {1}}),)), "boxes[0].attrs.a as set; allowed are texts, numbers, true, false,"),
        (Found((replace(BOX, attrs={"a": [np.zeros(2)]}),)), "boxes[0].attrs.a[0] as numpy.ndarray; allowed are "),
        (Found((replace(BOX, attrs={3: 4}),)), "boxes[0].attrs with the key 3 as int in place of str"),
        (Found((replace(BOX, attrs=ENDLESS),)), ", which is nested more than 16 deep"),
        (Found(lanes=(replace(LANE, points=((1, 2, 3),)),)), "lanes[0].points[0] with 3 numbers in place of 2"),
        (Found(lanes=(replace(LANE, points=((1, "2"),)),)), "lanes[0].points[0][1] as str in place of float"),
        (Found(lanes=(replace(LANE, points=(1.5,)),)), "lanes[0].points[0] as float in place of list"),
        (Found(masks=(replace(MASK, bits=np.zeros(1, np.uint8)),)), "masks[0].bits as numpy.ndarray in place of bytes"),
    ],
)  # fmt: skip
def test_the_rest_is_refused_with_its_place_and_kind(found, text):
    with pytest.raises(TypeError, match=f"^parser 'mine' returned .*{re.escape(text)}"):
        checked(found)


def test_a_score_that_rounding_has_put_above_one_is_one():
    assert checked(Found((replace(BOX, score=np.nextafter(np.float32(1), np.float32(2))),))).boxes[0].score == 1.0


class _Panic(BaseException):
    """As extensions written in other languages raise it."""

    def __str__(self) -> str:
        raise ValueError("no text either")


def test_whatever_a_constructor_raises_is_a_fault():
    class Parser:
        input = InputFormat()

        def __init__(self, *_: Any) -> None:
            raise _Panic

        def parse(self, *_: Any) -> Any: ...

    with pytest.raises(
        ConfigError, match=r"^parser 'mine' of mine fails when it is made: _Panic \(test_checked\.py:\d+\)$"
    ):
        CheckedClass("mine", "mine", Parser)(ModelSpec((), ()), ParserSettings())


def test_a_parser_that_wants_to_end_its_thread_fails():
    class Parser:
        def parse(self, *_: Any) -> Any:
            sys.exit(3)

    with pytest.raises(
        RuntimeError, match=r"^parser 'mine' wants to end this thread: SystemExit: 3 \(test_checked\.py:"
    ):
        Checked("mine", Parser()).parse({}, 0, FIT)


class _NoInput:
    def parse(self) -> None: ...


class _NoParse:
    input = InputFormat()


@pytest.mark.parametrize(
    ("found", "text"),
    [
        (_NoInput, "has None as `input` in place of an edged.tensor.InputFormat"),
        (
            type("", (_NoInput,), {"input": "letterbox"}),
            "has 'letterbox' as `input` in place of an edged.tensor.In",
        ),
        (_NoParse, "has no method `parse`"),
    ],
)
def test_what_is_no_class_of_parsers_is_refused(found, text):
    with pytest.raises(ConfigError, match=f"^parser 'mine' of the plug-in 'theirs' {re.escape(text)}"):
        CheckedClass("mine", "the plug-in 'theirs'", found)
