"""The two demo networks in PyTorch: one trunk, a detector's head and a lane line head.

Both are plain convolutions, ReLU and resizing, so that they quantise well and any runtime takes
them. About 0.35 million parameters each.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from models.dataset import SIZES

STRIDES = (4, 8, 16)


def conv(inputs: int, outputs: int, kernel: int = 3, stride: int = 1, groups: int = 1) -> nn.Sequential:
    """Return convolution, batch norm and ReLU."""
    return nn.Sequential(
        nn.Conv2d(inputs, outputs, kernel, stride, kernel // 2, groups=groups, bias=False),
        nn.BatchNorm2d(outputs, eps=1e-3, momentum=0.03),
        nn.ReLU(inplace=True),
    )


class Residual(nn.Module):
    """A narrow 1x1, a widening 3x3, and the input added."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.body = nn.Sequential(conv(channels, channels // 2, 1), conv(channels // 2, channels, 3))

    def forward(self, x: Tensor) -> Tensor:
        """Return features of the input's shape."""
        return x + self.body(x)


class Wide(nn.Module):
    """A 5x5 depthwise convolution and a 1x1, and the input added: cheap context."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.body = nn.Sequential(conv(channels, channels, 5, 1, channels), conv(channels, channels, 1))

    def forward(self, x: Tensor) -> Tensor:
        """Return features of the input's shape."""
        return x + self.body(x)


def up(x: Tensor) -> Tensor:
    """Double the size by repeating."""
    return functional.interpolate(x, scale_factor=2.0, mode="nearest")


class Trunk(nn.Module):
    """Features of strides 2 (16 channels), 4 (32), 8 (48) and 16 (48), fine ones informed by coarse."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = conv(3, 16, 3, 2)
        self.down4 = nn.Sequential(conv(16, 32, 3, 2), Residual(32))
        self.down8 = nn.Sequential(conv(32, 64, 3, 2), Residual(64), Residual(64))
        self.down16 = nn.Sequential(conv(64, 96, 3, 2), Residual(96), Residual(96))
        self.down32 = nn.Sequential(conv(96, 96, 3, 2, 96), conv(96, 128, 1), Wide(128), Wide(128))
        self.lift16, self.side16 = conv(128, 48, 1), conv(96, 48, 1)
        self.lift8, self.side8 = conv(48, 48, 1), conv(64, 48, 1)
        self.lift4, self.side4 = conv(48, 32, 1), conv(32, 32, 1)
        self.out16, self.out8, self.out4 = conv(48, 48), conv(48, 48), conv(32, 32)

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Return the features, finest first."""
        x2 = self.stem(images)
        x4 = self.down4(x2)
        x8 = self.down8(x4)
        x16 = self.down16(x8)
        y16 = self.out16(self.side16(x16) + up(self.lift16(self.down32(x16))))
        y8 = self.out8(self.side8(x8) + up(self.lift8(y16)))
        y4 = self.out4(self.side4(x4) + up(self.lift4(y8)))
        return x2, y4, y8, y16


def anchor_points() -> tuple[Tensor, Tensor]:
    """Return the middles (A, 2) px of all cells of all strides, and their strides (A,)."""
    points, strides, size = [], [], SIZES["road_users"]
    for stride in STRIDES:
        y, x = torch.meshgrid(torch.arange(size.height // stride), torch.arange(size.width // stride), indexing="ij")
        points.append((torch.stack([x, y], dim=-1).reshape(-1, 2).float() + 0.5) * stride)
        strides.append(torch.full((len(points[-1]),), float(stride)))
    return torch.cat(points), torch.cat(strides)


class RoadUsers(nn.Module):
    """An anchor-free detector of pedestrians and vehicles."""

    points: Tensor
    strides: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.trunk = Trunk()
        widths = (32, 48, 48)
        self.heads = nn.ModuleList(
            nn.Sequential(conv(w, w, 3, 1, w), conv(w, 48, 1), conv(48, 48, 3, 1, 48)) for w in widths
        )
        self.classes = nn.ModuleList(nn.Conv2d(48, 2, 1) for _ in widths)
        self.edges = nn.ModuleList(nn.Conv2d(48, 4, 1) for _ in widths)
        for classes, edges in zip(self.classes, self.edges, strict=True):
            nn.init.constant_(classes.bias, -5.5)
            nn.init.constant_(edges.bias, 1.0)
        points, strides = anchor_points()
        self.register_buffer("points", points.T[None], persistent=False)
        self.register_buffer("strides", strides[None, None], persistent=False)

    def raw(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """Return class logits (N, 2, A) and box edges (N, 4, A): x1, y1, x2, y2 in px."""
        _, *levels = self.trunk(images)
        features = [head(level) for head, level in zip(self.heads, levels, strict=True)]
        size = SIZES["road_users"]
        cells = [(size.height // s) * (size.width // s) for s in STRIDES]
        logits = [c(f).reshape(-1, 2, n) for c, f, n in zip(self.classes, features, cells, strict=True)]
        edges = [e(f).reshape(-1, 4, n) for e, f, n in zip(self.edges, features, cells, strict=True)]
        reach = torch.cat(edges, dim=2).float() * self.strides
        low, high = self.points - reach[:, :2], self.points + reach[:, 2:]
        return torch.cat(logits, dim=2).float(), torch.cat([low, high], dim=1)

    def forward(self, images: Tensor) -> Tensor:
        """Return (N, 6, A): cx, cy, w, h in px and the two class scores."""
        logits, edges = self.raw(images)
        low, high = edges[:, :2], edges[:, 2:]
        return torch.cat([(low + high) * 0.5, high - low, logits.sigmoid()], dim=1)


class LaneLines(nn.Module):
    """A mask of lane lines."""

    def __init__(self) -> None:
        super().__init__()
        self.trunk = Trunk()
        self.lift, self.side = conv(32, 16, 1), conv(16, 16, 1)
        self.mix = nn.Sequential(conv(16, 16, 3, 1, 16), conv(16, 16, 1))
        self.last = nn.Conv2d(16, 1, 1)
        nn.init.constant_(self.last.bias, -3.0)

    def forward(self, images: Tensor) -> Tensor:
        """Return (N, 1, 192, 320) logits, above 0 on a line."""
        x2, y4, _, _ = self.trunk(images)
        lifted = functional.interpolate(self.lift(y4), scale_factor=2.0, mode="bilinear", align_corners=False)
        half = self.last(self.mix(self.side(x2) + lifted))
        # ONNX Runtime resizes in blocks of 16 channels after a convolution; this parts the two.
        half = half.reshape(-1, 1, SIZES["lane_lines"].height // 2, SIZES["lane_lines"].width // 2)
        return functional.interpolate(half, scale_factor=2.0, mode="bilinear", align_corners=False)
