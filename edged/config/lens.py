"""What `cameras.yaml` says of a camera's lens, and of the views that are cut out of its field."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field, ValidationInfo, field_validator, model_validator

from edged.config.scalars import NAME_OF_OURS, one_of, real, reals, whole
from edged.config.strict import Strict
from edged.lens import Circle, Equidistant, Equirectangular, KannalaBrandt, Lens, Pinhole, View

LensModel = Literal["pinhole", "kannala_brandt", "equidistant", "equirectangular"]

CALIBRATED = frozenset({"fx_px", "fy_px", "cx_px", "cy_px", "width_px", "height_px"})
CIRCLE = ("cx_px", "cy_px", "radius_px", "width_px", "height_px")
NEEDS: dict[str, frozenset[str]] = {
    "pinhole": CALIBRATED,
    "kannala_brandt": CALIBRATED,
    "equidistant": frozenset({"fov_deg"}),
    "equirectangular": frozenset(),
}
MAY: dict[str, frozenset[str]] = {
    "pinhole": frozenset({"k"}),
    "kannala_brandt": frozenset({"k", "fov_deg"}),
    "equidistant": frozenset(CIRCLE),
    "equirectangular": frozenset(),
}
COEFFICIENTS = {"pinhole": ("k1", "k2", "p1", "p2", "k3"), "kannala_brandt": ("k1", "k2", "k3", "k4")}

Focal = Annotated[float, real(1, 1_000_000)] | None
Place = Annotated[float, real(-100_000, 100_000)] | None
Size = Annotated[int, whole(16, 16384)] | None


class LensConfig(Strict):
    """A camera's lens: what its views are computed with."""

    model: Annotated[LensModel, one_of("pinhole", "kannala_brandt", "equidistant", "equirectangular")] = Field(
        description="pinhole (with Brown's distortion), kannala_brandt (OpenCV's fisheye), equidistant (an ideal "
        "fisheye) or equirectangular (a full panorama)"
    )
    fx_px: Focal = Field(
        default=None, validate_default=True, description="horizontal focal length; pinhole, kannala_brandt"
    )
    fy_px: Focal = Field(
        default=None, validate_default=True, description="vertical focal length; pinhole, kannala_brandt"
    )
    cx_px: Place = Field(
        default=None,
        validate_default=True,
        description="column of the optical axis, the first column's centre is 0; pinhole, kannala_brandt, and "
        "equidistant with radius_px",
    )
    cy_px: Place = Field(default=None, validate_default=True, description="row of the optical axis, as cx_px")
    radius_px: Focal = Field(
        default=None,
        validate_default=True,
        description="radius of the image circle; equidistant, by default the largest circle in the picture",
    )
    k: Annotated[tuple[float, ...], reals(-1000, 1000, 4, 5)] | None = Field(
        default=None,
        validate_default=True,
        description="distortion as OpenCV has it: [k1, k2, p1, p2, k3] of pinhole, [k1, k2, k3, k4] of kannala_brandt",
    )
    fov_deg: Annotated[float, real(1, 360)] | None = Field(
        default=None,
        validate_default=True,
        description="the full field, from edge to edge of the image circle; equidistant, and kannala_brandt where the "
        "circle ends",
    )
    width_px: Size = Field(
        default=None,
        validate_default=True,
        description="width of the picture that the values in pixels are for; other sizes are scaled",
    )
    height_px: Size = Field(
        default=None, validate_default=True, description="height of the picture that the values in pixels are for"
    )

    @field_validator(*sorted(CALIBRATED | {"radius_px", "k", "fov_deg"}))
    @classmethod
    def _of_the_model(cls, value: Any, info: ValidationInfo) -> Any:
        model, name = info.data.get("model"), str(info.field_name)
        if model is None:
            return value
        if value is None and name in NEEDS[model]:
            raise ValueError(f"required for the model {model}, but absent")
        if value is not None and name not in NEEDS[model] | MAY[model]:
            models = [one for one in NEEDS if name in NEEDS[one] | MAY[one]]
            raise ValueError(f"is only for {', '.join(models)}; this is {model}")
        if name == "k" and value is not None and len(value) != len(COEFFICIENTS[model]):
            raise ValueError(f"must be [{', '.join(COEFFICIENTS[model])}] for {model}, got {len(value)} numbers")
        return value

    @model_validator(mode="after")
    def _whole_circle(self) -> LensConfig:
        lacking = [name for name in CIRCLE if getattr(self, name) is None]
        if self.model == "equidistant" and 0 < len(lacking) < len(CIRCLE):
            raise ValueError(f"{', '.join(CIRCLE)} go together; absent: {', '.join(lacking)}")
        return self

    def lens(self) -> Lens:
        """Return the lens."""
        if self.model == "equirectangular":
            return Equirectangular()
        cx, cy, width, height = self.cx_px or 0.0, self.cy_px or 0.0, self.width_px or 0, self.height_px or 0
        if self.model == "equidistant":
            circle = None if self.radius_px is None else Circle(cx, cy, self.radius_px, width, height)
            return Equidistant(self.fov_deg or 360.0, circle)
        fx, fy, k = self.fx_px or 1.0, self.fy_px or 1.0, self.k or (0.0,) * len(COEFFICIENTS[self.model])
        if self.model == "pinhole":
            return Pinhole(fx, fy, cx, cy, width, height, k)
        return KannalaBrandt(fx, fy, cx, cy, width, height, k, self.fov_deg or 360.0)


class ViewConfig(Strict):
    """A perspective picture cut out of what another camera's lens sees; a camera for tasks, without a source."""

    id: Annotated[str, NAME_OF_OURS] = Field(description="the view's key in cameras.yaml")
    view_of: Annotated[str, NAME_OF_OURS] = Field(description="the camera whose pictures it shows; that has a lens")
    yaw_deg: Annotated[float, real(-180, 180)] = Field(
        default=0.0, description="where it looks, to the right of the lens's axis"
    )
    pitch_deg: Annotated[float, real(-90, 90)] = Field(default=0.0, description="where it looks, up from there")
    roll_deg: Annotated[float, real(-180, 180)] = Field(
        default=0.0, description="how far it is turned clockwise, as seen from behind it"
    )
    fov_deg: Annotated[float, real(1, 170)] = Field(
        description="its angle from the left to the right edge; a perspective picture cannot reach 180"
    )
    width_px: Annotated[int, whole(16, 4096)] = Field(description="its width: results are in its pixels")
    height_px: Annotated[int, whole(16, 4096)] = Field(description="its height; pixels are square")

    def view(self, lens: LensConfig) -> View:
        """Return the view, with the lens of its camera."""
        return View(
            lens.lens(), self.width_px, self.height_px, self.fov_deg, self.yaw_deg, self.pitch_deg, self.roll_deg
        )
