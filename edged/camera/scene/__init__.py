"""A small made-up driving scene: six cameras, weather, light, and exact ground truth.

Needs OpenCV and NumPy. `Scene(seed).view(camera, t_s)` renders one picture.
"""

from edged.camera.scene.cameras import CAMERAS, HEIGHT_PX, WIDTH_PX, Camera
from edged.camera.scene.layout import LOOP_S
from edged.camera.scene.scene import Scene
from edged.camera.scene.truth import Truth, TruthBox, TruthLane, View
from edged.camera.scene.weather import WEATHERS, Schedule

__all__ = [
    "CAMERAS", "HEIGHT_PX", "LOOP_S", "WEATHERS", "WIDTH_PX", "Camera", "Scene", "Schedule", "Truth", "TruthBox",
    "TruthLane", "View",
]  # fmt: skip
