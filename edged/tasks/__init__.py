"""The table of output parsers: add a parser here, one row and one file."""

from __future__ import annotations

from edged.registry import Registry, Spec
from edged.tasks.base import Parser
from edged.tasks.checked import CheckedClass

_CORE = "numpy, which edged itself requires"

PARSERS: Registry[Parser] = Registry(
    "parser",
    {
        "yolov5": Spec("edged.tasks.yolo:Yolov5", _CORE),
        "yolov8": Spec("edged.tasks.yolo:Yolov8", _CORE),
        "yolox": Spec("edged.tasks.yolo:Yolox", _CORE),
        "fastestdet": Spec("edged.tasks.fastestdet:FastestDet", _CORE),
        "detr": Spec("edged.tasks.detr:Detr", _CORE),
        "faster_rcnn": Spec("edged.tasks.suppressed:FasterRcnn", _CORE),
        "efficient_nms": Spec("edged.tasks.suppressed:EfficientNms", _CORE),
        "lane_mask": Spec("edged.tasks.lane_mask:LaneMask", _CORE),
        "ufld": Spec("edged.tasks.ufld:Ufld", _CORE),
    },
    entry_points="edged.parsers",
    guard=CheckedClass,
)
