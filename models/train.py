"""Train the demo networks and write them as ONNX.

    python -m models.train road_users --out /tmp/trained --minutes 4
    python -m models.train lane_lines --out /tmp/trained --minutes 4
    python -m models.train road_users --out /tmp/smoke --smoke

Needs PyTorch 2 and onnx beside the project's own needs; takes a CUDA device when there is one.
"""

from __future__ import annotations

import argparse
import copy
import math
import os
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnx
import torch
from torch import Tensor, nn

from models.dataset import SIZES, TRAIN_SEEDS, NetSize, Samples, render
from models.losses import Wanted, detection_loss, lane_loss
from models.networks import LaneLines, RoadUsers

NETWORKS: dict[str, tuple[type[nn.Module], str]] = {
    "road_users": (RoadUsers, "output0"),
    "lane_lines": (LaneLines, "lines"),
}


@dataclass(frozen=True)
class Plan:
    """How long and how fast to train."""

    minutes: float
    batch: int
    rate: float = 2.5e-3
    warm_steps: int = 300
    graph: bool = True


class Batches:
    """All samples on the device; draws random batches, mirrored, zoomed and disturbed."""

    def __init__(self, samples: Samples, size: NetSize, device: torch.device) -> None:
        self.size = size
        self.images = torch.from_numpy(samples.images).to(device)
        self.boxes = torch.from_numpy(samples.boxes).to(device)
        self.boxes[..., 1:5] *= size.scale
        self.lanes = torch.from_numpy(samples.lanes).to(device)
        self.device = device

    def draw(self, count: int) -> tuple[Tensor, Tensor, Tensor]:
        """Return images (B, 3, height, width), box rows in their px, lane masks (B, 1, height, width)."""
        pick = torch.randint(len(self.images), (count,), device=self.device)
        image = self.images[pick].permute(0, 3, 1, 2).float() / 255
        both = torch.cat([image, self.lanes[pick][:, None].float() / 255], dim=1)
        mirror = (torch.rand(count, device=self.device) < 0.5).float() * 2 - 1
        zoom = 1 + 0.45 * (torch.rand(count, device=self.device) - 0.45).clamp(min=0)
        shift = (torch.rand(count, 2, device=self.device) * 2 - 1) * (1 - 1 / zoom)[:, None]
        scale = torch.stack([mirror / zoom, 1 / zoom], dim=1)
        theta = torch.cat([torch.diag_embed(scale), shift[..., None]], dim=2)
        grid = nn.functional.affine_grid(theta, list(both.shape), align_corners=False)
        both = nn.functional.grid_sample(both, grid, padding_mode="border", align_corners=False)
        pad = (0, 0, self.size.pad, self.size.pad)
        image = nn.functional.pad(disturb(both[:, :3]), pad, value=114 / 255)
        return image, move(self.boxes[pick], scale, shift, self.size), nn.functional.pad(both[:, 3:], pad)


def move(rows: Tensor, scale: Tensor, shift: Tensor, size: NetSize) -> Tensor:
    """Take box rows (B, M, 6) along with pictures resampled at `position * scale + shift`.

    Positions are -1..1 over the unpadded picture. What a box loses at the picture's edges counts
    as hidden.
    """
    width, height = size.picture
    x = ((rows[..., 1:5:2] / width * 2 - 1 - shift[:, None, :1]) / scale[:, None, :1] + 1) * width / 2
    y = ((rows[..., 2:5:2] / height * 2 - 1 - shift[:, None, 1:]) / scale[:, None, 1:] + 1) * height / 2
    area = ((x[..., 1] - x[..., 0]) * (y[..., 1] - y[..., 0])).abs()
    x, y = x.clamp(0, width), y.clamp(0, height)
    x1, x2, y1, y2 = x.amin(-1), x.amax(-1), y[..., 0], y[..., 1]
    seen = rows[..., 5] * ((x2 - x1) * (y2 - y1) / area.clamp(min=1e-6)).clamp(0, 1)
    return torch.stack([rows[..., 0], x1, y1 + size.pad, x2, y2 + size.pad, seen], dim=-1)


def disturb(image: Tensor) -> Tensor:
    """Vary exposure, contrast, colour and noise of pictures (B, 3, H, W) in 0..1."""
    shape = (len(image), 1, 1, 1)

    def spread(low: float, high: float, channels: int = 1) -> Tensor:
        size = (shape[0], channels, 1, 1)
        return torch.empty(size, device=image.device).uniform_(low, high)

    image = image.clamp(1e-4, 1) ** spread(-0.3, 0.3).exp()
    middle = image.mean((1, 2, 3), keepdim=True)
    image = (image - middle) * spread(0.8, 1.2) + middle * spread(0.8, 1.2)
    image = image * spread(0.93, 1.07, 3)
    return (image + torch.randn_like(image) * spread(0.0, 0.025) * (spread(0, 1) < 0.5)).clamp(0, 1)


def loss_of(network: nn.Module, batch: tuple[Tensor, Tensor, Tensor], amp: bool) -> Tensor:
    """Return the loss of one batch."""
    image, rows, lanes = batch
    with torch.autocast(image.device.type, torch.bfloat16, enabled=amp):
        out = network.raw(image) if isinstance(network, RoadUsers) else network(image)
    if isinstance(network, RoadUsers):
        points, strides = network.points[0].T, network.strides[0, 0]
        wanted = Wanted.of(rows, SIZES["road_users"].scale)
        return detection_loss(out[0].float(), out[1].float(), points, strides, wanted)
    return lane_loss(out.float(), lanes)


class Stepper:
    """One training step, recorded once as a CUDA graph where there is a GPU, then replayed.

    These networks are so small that starting the kernels one by one costs more than running them.
    """

    def __init__(self, network: nn.Module, batches: Batches, plan: Plan) -> None:
        cuda = batches.device.type == "cuda"
        network.to(batches.device, memory_format=torch.channels_last).train()
        self.network, self.batches, self.plan = network, batches, plan
        self.average = copy.deepcopy(network).eval()
        self.loss = torch.zeros((), device=batches.device)
        decayed = [p for p in network.parameters() if p.ndim > 1]
        plain = [p for p in network.parameters() if p.ndim <= 1]
        groups = [{"params": decayed, "weight_decay": 0.02}, {"params": plain, "weight_decay": 0.0}]
        rate = torch.tensor(1e-5, device=batches.device) if cuda else 1e-5
        self.optimiser = torch.optim.AdamW(groups, lr=rate, capturable=cuda)
        self.graph = self._record() if cuda and plan.graph else None

    def __call__(self, rate: float) -> None:
        """Take one step at a learning rate."""
        for group in self.optimiser.param_groups:
            if isinstance(group["lr"], Tensor):
                group["lr"].fill_(rate)
            else:
                group["lr"] = rate
        if self.graph is None:
            self._step()
        else:
            self.graph.replay()

    def _step(self) -> None:
        loss = loss_of(self.network, self.batches.draw(self.plan.batch), self.batches.device.type == "cuda")
        self.optimiser.zero_grad(set_to_none=True)
        loss.backward()
        nn.utils.clip_grad_norm_(self.network.parameters(), 10.0)
        self.optimiser.step()
        follow(self.average, self.network, 0.998)
        self.loss.copy_(loss.detach())

    def _record(self) -> torch.cuda.CUDAGraph:
        aside = torch.cuda.Stream()
        aside.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(aside):
            for _ in range(4):
                self._step()
        torch.cuda.current_stream().wait_stream(aside)
        self.optimiser.zero_grad(set_to_none=True)
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph):
            self._step()
        return graph


def fit(network: nn.Module, batches: Batches, plan: Plan) -> nn.Module:
    """Train for `plan.minutes` and return the running average of the weights."""
    stepper = Stepper(network, batches, plan)
    start = said = time.monotonic()
    step = 0
    while (share := (time.monotonic() - start) / (plan.minutes * 60)) < 1.0:
        fall = 0.01 + 0.495 * (1 + math.cos(math.pi * share))
        stepper(plan.rate * min(1.0, (step + 1) / plan.warm_steps) * fall)
        step += 1
        if step % 50 == 0:
            value = float(stepper.loss)
            if time.monotonic() - said > 8:
                said = time.monotonic()
                print(f"step {step} loss {value:.3f} at {said - start:.0f} s", flush=True)
    print(f"stopped after {step} steps, loss {float(stepper.loss):.3f}", flush=True)
    return stepper.average


@torch.no_grad()
def follow(average: nn.Module, network: nn.Module, keep: float) -> None:
    """Move the average towards the network's weights; copy its counters."""
    mine, theirs = list(average.state_dict().values()), list(network.state_dict().values())
    floats = [k for k, v in enumerate(mine) if v.dtype.is_floating_point]
    torch._foreach_lerp_([mine[k] for k in floats], [theirs[k] for k in floats], 1 - keep)


def export(network: nn.Module, name: str, path: Path) -> None:
    """Write the network as ONNX opset 17, IR version 8, with a free batch axis."""
    network = network.to("cpu", memory_format=torch.contiguous_format).eval()
    sample = torch.zeros(2, 3, SIZES[name].height, SIZES[name].width)
    output = NETWORKS[name][1]
    torch.onnx.export(
        network, (sample,), str(path), input_names=["images"], output_names=[output], opset_version=17,
        dynamic_axes={"images": {0: "batch"}, output: {0: "batch"}}, do_constant_folding=True, dynamo=False,
    )  # fmt: skip
    model = onnx.load(str(path))
    model.ir_version = 8
    model.producer_name = "edged models/train.py"
    onnx.checker.check_model(model)
    onnx.save(model, str(path))


def main() -> None:
    """Read the arguments, get the samples, train and export."""
    parser = argparse.ArgumentParser(description="Train one demo network and write it as ONNX.")
    parser.add_argument("network", choices=list(NETWORKS))
    parser.add_argument("--out", type=Path, required=True, help="folder to write NAME.onnx and NAME.pt to")
    parser.add_argument("--data", type=Path, help="folder to keep and find rendered samples in")
    parser.add_argument("--scenes", type=int, default=len(TRAIN_SEEDS), help="training seeds to render")
    parser.add_argument("--views", type=int, default=20, help="views of each seed")
    parser.add_argument("--minutes", type=float, default=4.0)
    parser.add_argument("--batch", type=int, default=64)
    parser.add_argument("--rate", type=float, default=2.5e-3, help="highest learning rate")
    parser.add_argument("--no-graph", action="store_true", help="start GPU kernels one by one")
    parser.add_argument("--start", type=Path, help="weights to go on from, NAME.pt of an earlier training")
    parser.add_argument("--smoke", action="store_true", help="a few pictures and steps, to see that it runs")
    args = parser.parse_args()
    if args.smoke:
        args.scenes, args.views, args.minutes, args.batch = 4, 8, 0.2, 8
    torch.manual_seed(0)
    torch.backends.cudnn.benchmark = True
    size = SIZES[args.network]
    samples = load(args.data, TRAIN_SEEDS[: args.scenes], args.views, size)
    print(f"{len(samples.images)} pictures", flush=True)
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    network = NETWORKS[args.network][0]()
    if args.start:
        network.load_state_dict(torch.load(args.start))
    print(f"{sum(p.numel() for p in network.parameters())} parameters on {device}", flush=True)
    plan = Plan(args.minutes, args.batch, args.rate, graph=not args.no_graph)
    trained = fit(network, Batches(samples, size, device), plan)
    args.out.mkdir(parents=True, exist_ok=True)
    torch.save(trained.state_dict(), args.out / f"{args.network}.pt")
    export(trained, args.network, args.out / f"{args.network}.onnx")


def load(folder: Path | None, seeds: range, views: int, size: NetSize) -> Samples:
    """Render the samples, or read them from `folder` when they are there already."""
    if folder is not None and (folder / "lanes.npy").exists():
        return Samples(*(np.load(folder / f"{part}.npy") for part in ("images", "boxes", "lanes")))
    samples = render(seeds, views, size, os.cpu_count() or 1)
    if folder is not None:
        folder.mkdir(parents=True, exist_ok=True)
        for part in ("images", "boxes", "lanes"):
            np.save(folder / f"{part}.npy", getattr(samples, part))
    return samples


if __name__ == "__main__":
    main()
