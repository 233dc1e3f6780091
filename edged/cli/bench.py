"""`edged bench`: what this machine can do, beside its ceilings."""

from __future__ import annotations

import argparse
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edged.cli.numbers import real, whole
from edged.cli.output import print_json, print_table

if TYPE_CHECKING:
    from edged.bench.load import Load
    from edged.bench.running import Latencies, Switching, Throughput
    from edged.bench.stages import Stages

CAMERAS_MAX, RATE_MAX_HZ = 256, 500.0  # a configuration has no more cameras, and a task no more than twice the rate
PARTS = ("stages", "throughput", "latency", "switching")


def add(commands: Any) -> None:
    """Add the command."""
    command = commands.add_parser("bench", help="throughput, latency, overhead and activation beside their ceilings")
    command.add_argument("--task", metavar="NAME", help="a task of the configuration (default: the bundled demo's)")
    command.add_argument("--video", type=Path, help="a video file, with --onnx and --parser")
    command.add_argument("--onnx", type=Path, help="a network")
    command.add_argument("--parser", help="its parser")
    command.add_argument("--score-min", type=real(0, 1), default=0.5)
    command.add_argument("--cameras", type=whole(1, CAMERAS_MAX), default=4, metavar="N")
    rate, seconds = real(1, RATE_MAX_HZ), real(0.1, 86_400)
    command.add_argument("--rate", type=rate, default=10.0, metavar="HZ", help="per camera, for the latency")
    command.add_argument("--seconds", type=seconds, default=10.0, metavar="S", help="of each part")
    command.add_argument("--only", choices=PARTS, action="append", help="a part; may be given more than once")
    command.add_argument("--json", action="store_true", help="one JSON document")
    command.set_defaults(run=bench)


def bench(args: argparse.Namespace) -> int:
    """Measure, and print each figure beside its ceiling."""
    from edged.bench.running import measure_latency, measure_switching, measure_throughput
    from edged.bench.stages import measure_stages

    load, parts = _load(args), args.only or PARTS
    stages = measure_stages(load, max(0.5, args.seconds / 5)) if "stages" in parts else None
    throughput = measure_throughput(load, args.cameras, args.seconds) if "throughput" in parts else None
    latency = measure_latency(load, args.cameras, args.rate, args.seconds) if "latency" in parts else None
    switching = measure_switching(load, args.cameras) if "switching" in parts else None
    if args.json:
        measured = {"stages": stages, "throughput": throughput, "latency": latency, "switching": switching}
        document = {name: asdict(one) for name, one in measured.items() if one is not None}
        if stages is not None:
            document["stages"]["ceiling_hz"] = stages.ceiling_hz
        print_json(document)
        return 0
    rows: list[tuple[str, str, str, str]] = []
    if stages is not None:
        rows += _stage_rows(stages, throughput)
    if throughput is not None:
        rows += _throughput_rows(throughput, stages)
    if latency is not None:
        rows += _latency_rows(latency)
    if switching is not None:
        rows += _switching_rows(switching)
    print(f"{load.video.name} through {Path(load.model['onnx']).name}, {args.cameras} cameras\n")
    print_table(("WHAT", "MEASURED", "CEILING", "RATIO"), rows)
    return 0


def _load(args: argparse.Namespace) -> Load:
    from edged.bench.load import load_from_files, load_of_task
    from edged.config import load_config
    from edged.errors import UsageError

    own = (args.video, args.onnx, args.parser)
    if any(own):
        if not all(own):
            raise UsageError("--video, --onnx and --parser go together")
        return load_from_files(args.video, args.onnx, args.parser, args.score_min)
    if args.task:
        config = load_config(args.config)
        if args.task not in config.tasks:
            raise UsageError(f"no task {args.task!r} in {args.config}; there are {', '.join(config.tasks)}")
        return load_of_task(config, args.task)
    from edged.demo.bundle import demo_config

    return load_of_task(load_config(demo_config()), "pedestrian")


def _stage_rows(stages: Stages, throughput: Throughput | None) -> list[tuple[str, str, str, str]]:
    """Show what each stage costs by itself, beside what it costs inside the daemon."""
    inside = throughput.stage_ms if throughput is not None else {}
    rows = []
    for stage in ("decode", "convert", "infer", "parse"):
        alone = getattr(stages, stage)
        measured = f"{inside[stage]:.2f} ms" if stage in inside else "-"
        ratio = f"{inside[stage] / alone:.2f}" if stage in inside and alone else "-"
        rows.append((f"{stage}, CPU a frame", measured, f"{alone:.2f} ms alone", ratio))
    for way, cost in stages.convert_by.items():
        rows.append((f"convert by {way}", "-", f"{cost:.2f} ms alone", "-"))
    return rows


def _throughput_rows(throughput: Throughput, stages: Stages | None) -> list[tuple[str, str, str, str]]:
    ceiling = f"{stages.ceiling_hz:.0f} Hz" if stages else "-"
    ratio = f"{throughput.results_hz / stages.ceiling_hz:.3f}" if stages else "-"
    frame = f"{stages.frame_ms:.2f} ms" if stages else "-"
    frame_ratio = f"{throughput.cpu_ms / stages.frame_ms:.3f}" if stages else "-"
    return [
        ("throughput, as fast as read", f"{throughput.results_hz:.0f} Hz", ceiling, ratio),
        ("CPU a frame, all of it", f"{throughput.cpu_ms:.2f} ms", frame, frame_ratio),
        ("CPU a frame, the daemon's own", f"{throughput.own_ms:.3f} ms", "0.250 ms", f"{throughput.own_ms / 0.25:.2f}"),
        ("cores used", f"{throughput.cores:.2f}", f"{stages.cores}" if stages else "-", "-"),
        ("memory", f"{throughput.rss_mb:.0f} MB", "-", "-"),
    ]


def _latency_rows(latency: Latencies) -> list[tuple[str, str, str, str]]:
    floor = latency.convert_ms + latency.infer_ms
    return [
        ("decoded to subscriber, p50", f"{latency.p50_ms:.2f} ms", f"{floor:.2f} ms", f"{latency.p50_ms / floor:.2f}"),
        ("decoded to subscriber, p99", f"{latency.p99_ms:.2f} ms", f"{floor:.2f} ms", f"{latency.p99_ms / floor:.2f}"),
    ]


def _switching_rows(switching: Switching) -> list[tuple[str, str, str, str]]:
    return [
        ("start to first result", f"{switching.start_ms:.0f} ms", "-", "-"),
        ("activation to first result, parked", f"{switching.activate_ms:.0f} ms", "-", "-"),
        ("deactivation until the decoders rest", f"{switching.rest_ms:.0f} ms", "-", "-"),
    ]
