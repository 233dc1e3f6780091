"""What the inspector says, in the forms of all releases."""

from __future__ import annotations

import json

import pytest

from edged.engines.tensorrt.layers import built_as, read_layers


def layer(name, kind, **output):
    return {
        "Name": name,
        "LayerType": kind,
        "Inputs": [],
        "Outputs": [{"Name": f"{name}:0", "Dimensions": [1], **output}],
    }


def inspected(*rows):
    return json.dumps({"Layers": list(rows), "Bindings": []})


@pytest.mark.parametrize(
    ("output", "precision"),
    [
        ({"Format/Datatype": "Row major linear FP32"}, "fp32"),
        ({"Format/Datatype": "Row major Float format"}, "fp32"),
        ({"Format/Datatype": "Channel major FP16 format where channel % 8 == 0"}, "fp16"),
        ({"Format/Datatype": "Thirty-two wide channel vectorized row major Int8 format"}, "int8"),
        ({"Format": "Row major linear", "DataType": "Half"}, "fp16"),
        ({"Format": "Row major linear", "DataType": "Int8"}, "int8"),
    ],
)
def test_the_precision_is_found_in_either_form(output, precision):
    assert read_layers(inspected(layer("conv", "CaskConvolution", **output)), "gpu0").precision == {precision: 1}


@pytest.mark.parametrize(("weights", "precision"), [("Int8", "int8"), ("Half", "fp16"), ("Float", "fp32")])
def test_where_tensors_tell_nothing_weights_do(weights, precision):
    open_batch = {"Format/Datatype": "N/A due to dynamic shapes"}  # TensorRT 8.5.3.1
    rows = (
        layer("conv", "CaskConvolution", **open_batch) | {"Weights": {"Type": weights, "Count": 432}},
        layer("add", "PointWiseV2", **open_batch),
        layer("grid", "Constant", **open_batch) | {"weights": {"Type": "Float", "Count": 11340}},
    )
    assert read_layers(inspected(*rows), "gpu0").precision == {precision: 1}


def test_layers_that_only_move_do_not_count_as_computed():
    rows = (layer("conv", "CaskConvolution", DataType="Half"), layer("to fp32", "Reformat", DataType="Float"))
    layers = read_layers(inspected(*rows), "gpu0")
    assert (layers.on, layers.precision) == ({"gpu": 2}, {"fp16": 1})


def test_what_is_beside_the_dla_is_named_and_reformats_are_not():
    rows = (layer("{ForeignNode[a...b]}", "DLA"), layer("copy", "Reformat"), layer("resize", "Resize", DataType="Half"))
    layers = read_layers(inspected(*rows), "dla1")
    assert layers.on == {"dla1": 1, "gpu": 2}
    assert layers.beside_dla == ("resize",)


def test_names_alone_and_no_json_say_nothing_of_precision():
    assert read_layers(json.dumps({"Layers": ["a", "b"]}), "gpu0").on == {"gpu": 2}
    for text in ("", "no json", "[]", '"text"'):
        assert read_layers(text, "gpu0").on == {}


@pytest.mark.parametrize(
    ("asked", "device", "computed_in", "built", "remark"),
    [
        ("fp16", "gpu", {"fp16": 1, "fp32": 90, "int32": 400}, "fp16", ""),
        ("fp16", "gpu", {"fp32": 90, "int32": 400}, "fp32", "no layer is computed in fp16: 90 fp32"),
        ("int8", "gpu", {"fp16": 53, "fp32": 25}, "fp16", "no layer is computed in int8: 53 fp16, 25 fp32"),
        ("int8", "gpu", {"fused": 1, "fp32": 2}, "int8", ""),
        ("int8", "dla0", {"fp16": 1}, "int8", ""),
        ("int8", "gpu", {"int32": 4}, "int8", ""),
        ("int8", "gpu", {}, "int8", ""),
    ],
)
def test_what_was_built_is_told_where_it_is_known_and_is_not_what_was_asked_for(
    asked, device, computed_in, built, remark
):
    assert built_as(asked, device, computed_in) == (built, remark)


def test_of_layers_fused_into_one_the_result_says_nothing_of_their_precision():
    rows = layer("{ForeignNode[a...b]}", "Myelin", DataType="Float"), layer("c", "CaskConvolution", DataType="Half")
    assert read_layers(inspected(*rows), "gpu0").precision == {"fp16": 1, "fused": 1}
