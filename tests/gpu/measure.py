"""Inferences per second of one engine, through edged's slots and in a plain loop without edged, in the same run."""

from __future__ import annotations

import json
import sys
import threading
import time
from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np

SECONDS = 4.0


def plain(plan: bytes, streams: int, seconds: float = SECONDS) -> dict[str, float]:
    """Run the engine with nothing but TensorRT, pycuda and cuda-bindings."""
    import pycuda.driver as cuda
    import tensorrt as trt
    from cuda.bindings import driver

    cuda.init()
    context = cuda.Device(0).retain_primary_context()
    context.push()
    try:
        logger = trt.Logger(trt.Logger.ERROR)
        engine = trt.Runtime(logger).deserialize_cuda_engine(plan)
        lanes = []
        for _ in range(streams):
            stream, execution, copies = cuda.Stream(1), engine.create_execution_context(), []
            for index in range(engine.num_io_tensors):
                name = engine.get_tensor_name(index)
                host = cuda.pagelocked_zeros(tuple(engine.get_tensor_shape(name)), np.float32)
                memory = cuda.mem_alloc(host.nbytes)
                execution.set_tensor_address(name, int(memory))
                copies.append((engine.get_tensor_mode(name) == trt.TensorIOMode.INPUT, host, memory))

            def enqueue(stream: Any = stream, execution: Any = execution, copies: Any = copies) -> None:
                for is_input, host, memory in copies:
                    if is_input:
                        cuda.memcpy_htod_async(memory, host, stream)
                assert execution.execute_async_v3(stream.handle)
                for is_input, host, memory in copies:
                    if not is_input:
                        cuda.memcpy_dtoh_async(host, memory, stream)

            enqueue()
            stream.synchronize()
            driver.cuStreamBeginCapture(stream.handle, driver.CUstreamCaptureMode.CU_STREAM_CAPTURE_MODE_THREAD_LOCAL)
            enqueue()
            _, graph = driver.cuStreamEndCapture(stream.handle)
            _, ready = driver.cuGraphInstantiate(graph, 0)
            lanes.append((stream, ready, copies, execution))
        done, times, begin_s = 0, [], time.perf_counter()
        while time.perf_counter() - begin_s < seconds:
            start_s = time.perf_counter()
            for stream, ready, *_ in lanes:
                driver.cuGraphLaunch(ready, stream.handle)
            for stream, *_ in lanes:
                stream.synchronize()
            times.append(time.perf_counter() - start_s)
            done += streams
        rate = done / (time.perf_counter() - begin_s)
        del lanes, execution, engine, stream, copies, host, memory, enqueue
        return {"per_s": round(rate), "round_us": round(float(np.median(times)) * 1e6)}
    finally:
        context.pop()


def through_edged(engine: Any, threads: int, seconds: float = SECONDS) -> dict[str, float]:
    """Run it through slots, one thread for each: reserve, submit, complete, release."""
    counts, times = [0] * threads, [[] for _ in range(threads)]
    stop = threading.Event()

    def work(number: int) -> None:
        while not stop.is_set():
            slot = engine.reserve(1)
            start_s = time.perf_counter()
            slot.submit(slot.capacity)
            dict(slot.complete())  # outputs come where they are read
            times[number].append(time.perf_counter() - start_s)
            slot.release()
            counts[number] += 1

    workers = [threading.Thread(target=work, args=(number,)) for number in range(threads)]
    begin_s, cpu_s = time.perf_counter(), time.process_time()
    for worker in workers:
        worker.start()
    time.sleep(seconds)
    stop.set()
    for worker in workers:
        worker.join()
    took_s = time.perf_counter() - begin_s
    middle, tail = np.percentile(np.concatenate(times), (50, 99)) * 1e6
    cores = (time.process_time() - cpu_s) / took_s
    return {
        "per_s": round(sum(counts) / took_s),
        "p50_us": round(middle),
        "p99_us": round(tail),
        "cores": round(cores, 2),
    }


def main(store: str, model: str, parser: str, precision: str = "fp32") -> None:
    """Build if need be, measure both in turns, and print one JSON document."""
    from trt_parts import build_into

    from edged.engines.base import EngineRequest
    from edged.engines.store import Store
    from edged.engines.tensorrt.engine import TrtEngine
    from edged.tasks import PARSERS

    request = EngineRequest(Path(model), PARSERS.load(parser).input, precision, "gpu", store=Path(store))
    manifest = build_into(request)
    plan = Store(Path(store)).file_of(manifest).read_bytes()
    rows = []
    with closing(TrtEngine(request)) as engine:
        for threads in (1, engine.workers) * 2:
            row = {"streams": threads, "plain": plain(plan, threads), "edged": through_edged(engine, threads)}
            rows.append({**row, "share": round(row["edged"]["per_s"] / row["plain"]["per_s"], 3)})
        print(json.dumps({"model": Path(model).name, "precision": precision, "note": engine.note, "rows": rows}))


if __name__ == "__main__":
    main(*sys.argv[1:])
