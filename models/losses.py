"""What the networks are trained to make small."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

TOP_CELLS = 9
_LEARN_VISIBLE, _LEARN_HEIGHT_PX = 0.3, 11.0


@dataclass(frozen=True)
class Wanted:
    """Truth of a batch in px of the network's picture, M boxes at most.

    Attributes:
        boxes: (B, M, 4) x1, y1, x2, y2.
        labels: (B, M) 0 or 1; 0 where there is no box.
        learn: (B, M) boxes to find.
        ignore: (B, M) boxes too small or too hidden to ask for or to forbid.
    """

    boxes: Tensor
    labels: Tensor
    learn: Tensor
    ignore: Tensor

    @staticmethod
    def of(rows: Tensor, scale: float) -> Wanted:
        """Read rows (B, M, 6): class (-1 for none), x1, y1, x2, y2 in px of the picture, visible.

        `scale` is the picture's pixels per pixel of the 640x360 view.
        """
        present = rows[..., 0] >= 0
        tall = (rows[..., 4] - rows[..., 2]) / scale >= _LEARN_HEIGHT_PX
        learn = present & tall & (rows[..., 5] >= _LEARN_VISIBLE)
        return Wanted(rows[..., 1:5], rows[..., 0].clamp(min=0).long(), learn, present & ~learn)


def pair_iou(a: Tensor, b: Tensor) -> Tensor:
    """Return the IoU of boxes whose last axis is x1, y1, x2, y2; other axes broadcast."""
    shared = torch.minimum(a[..., 2:], b[..., 2:]) - torch.maximum(a[..., :2], b[..., :2])
    shared = shared.clamp(min=0)
    both = shared[..., 0] * shared[..., 1]
    areas = _area(a) + _area(b)
    return both / (areas - both + 1e-6)


def _area(boxes: Tensor) -> Tensor:
    # not prod(): its gradient looks for zeros and makes the CPU wait for the GPU
    size = (boxes[..., 2:] - boxes[..., :2]).clamp(min=0)
    return size[..., 0] * size[..., 1]


def complete_iou(a: Tensor, b: Tensor) -> Tensor:
    """Return the complete IoU of boxes (..., 4): overlap less distance and shape difference."""
    iou = pair_iou(a, b)
    around = torch.maximum(a[..., 2:], b[..., 2:]) - torch.minimum(a[..., :2], b[..., :2])
    diagonal = (around**2).sum(-1) + 1e-6
    apart = ((a[..., :2] + a[..., 2:] - b[..., :2] - b[..., 2:]) ** 2).sum(-1) / 4
    wa, wb = (a[..., 2:] - a[..., :2]).clamp(min=1e-3), (b[..., 2:] - b[..., :2]).clamp(min=1e-3)
    turn = torch.atan(wb[..., 0] / wb[..., 1]) - torch.atan(wa[..., 0] / wa[..., 1])
    shape = 4 / math.pi**2 * turn**2
    with torch.no_grad():
        weight = shape / (shape - iou + 1 + 1e-6)
    return iou - apart / diagonal - weight * shape


@torch.no_grad()
def assign(
    scores: Tensor, edges: Tensor, points: Tensor, strides: Tensor, wanted: Wanted
) -> tuple[Tensor, Tensor, Tensor]:
    """Give each box the cells that fit it best by score and overlap.

    Args:
        scores: (B, A, 2) after the sigmoid.
        edges: (B, A, 4) predicted boxes.
        points: (A, 2) middles of the cells.
        strides: (A,) of the cells.
        wanted: the truth.

    Returns:
        which box each cell is for (B, A), whether it is for any (B, A), and the score to aim at
        (B, A).
    """
    boxes = wanted.boxes
    middle, size = (boxes[..., :2] + boxes[..., 2:]) / 2, boxes[..., 2:] - boxes[..., :2]
    half = torch.maximum(size[:, :, None] / 2, strides[None, None, :, None] * 0.9)
    inside = ((points - middle[:, :, None]).abs() < half).all(-1) & wanted.learn[..., None]
    longest = size.amax(-1)[..., None]
    fine, middling, coarse = (strides == 4).float(), (strides == 8).float(), (strides == 16).float()
    low, high = 20.0 * middling + 56.0 * coarse, 44.0 * fine + 110.0 * middling + 1e9 * coarse
    inside &= (longest >= low) & (longest < high)
    overlap = pair_iou(boxes[:, :, None], edges[:, None]) * inside
    own = scores.transpose(1, 2).gather(1, wanted.labels[..., None].expand(-1, -1, scores.shape[1]))
    fit = (own.clamp(min=1e-4).sqrt() * overlap.clamp(min=1e-3) ** 4) * inside
    best, cells = fit.topk(TOP_CELLS, dim=-1)
    chosen = torch.zeros_like(inside).scatter_(-1, cells, best > 0)
    rank = torch.where(chosen, overlap + 1e-6, torch.zeros_like(overlap))
    most, owner = rank.max(dim=1)
    taken = most > 0
    mine = chosen & (owner[:, None] == torch.arange(boxes.shape[1], device=boxes.device)[None, :, None])
    fit = fit * mine
    peak = fit.amax(-1, keepdim=True).clamp(min=1e-12)
    reach = (overlap * mine).amax(-1, keepdim=True)
    aim = (fit / peak * reach).amax(1)
    return owner, taken, aim


def detection_loss(logits: Tensor, edges: Tensor, points: Tensor, strides: Tensor, wanted: Wanted) -> Tensor:
    """Return the loss of one batch: class scores, overlap and edges.

    `logits` is (B, 2, A), `edges` (B, 4, A) in px, `points` (A, 2), `strides` (A,).
    """
    logits, edges = logits.transpose(1, 2), edges.transpose(1, 2)
    owner, taken, aim = assign(logits.detach().sigmoid(), edges.detach(), points, strides, wanted)
    label = wanted.labels.gather(1, owner)
    target = torch.stack([label == 0, label == 1], dim=-1) * (aim * taken)[..., None]
    near = ((points > wanted.boxes[:, :, None, :2]) & (points < wanted.boxes[:, :, None, 2:])).all(-1)
    near &= wanted.ignore[..., None]
    spared = torch.stack([(near & (wanted.labels == k)[..., None]).any(1) for k in (0, 1)], dim=-1)
    spared &= ~taken[..., None]
    scores = functional.binary_cross_entropy_with_logits(logits, target, reduction="none")
    loss = (scores * ~spared).sum() / target.sum().clamp(min=1.0)
    aimed = wanted.boxes.gather(1, owner[..., None].expand(-1, -1, 4))
    weight = aim.clamp(min=0.3) * taken
    total = weight.sum().clamp(min=1.0)
    size = (aimed[..., 2:] - aimed[..., :2]).repeat(1, 1, 2).clamp(min=2.0)
    off = ((edges - aimed).abs() / size).clamp(max=4).sum(-1)
    loss = loss + 6.0 * ((1 - complete_iou(edges, aimed)) * weight).sum() / total
    return loss + 1.5 * (off * weight).sum() / total


def lane_loss(logits: Tensor, target: Tensor) -> Tensor:
    """Return the loss of masks (B, 1, H, W): cross entropy, lines weighing more, and Dice."""
    entropy = functional.binary_cross_entropy_with_logits(logits, target, reduction="none")
    entropy = (entropy * (1 + 3 * target)).mean()
    share = logits.sigmoid()
    both = (share * target).sum((1, 2, 3))
    dice = 1 - (2 * both + 20) / (share.sum((1, 2, 3)) + target.sum((1, 2, 3)) + 20)
    return 6 * entropy + dice.mean()
