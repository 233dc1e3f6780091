"""The GPU pipeline people write by hand, well tuned and correct: NVDEC in threads, one kernel, CUDA graphs, no edged.

    python bench/gpu_by_hand.py decode VIDEO --cameras 16 --seconds 10
    python bench/gpu_by_hand.py run VIDEO PLAN --cameras 64 --rate 30 --seconds 30

`decode` only decodes, as fast as possible. `run` does FastestDet's work: PLAN is a serialized TensorRT engine of it
with a batch of one and fp32 input. A camera's next picture is decoded only when the kernel has read the one before,
for the decoder writes to the same buffer. Prints one JSON line.
"""

import argparse
import json
import queue
import threading
import time
from pathlib import Path

import numpy as np
from fastestdet import SIZE, parse

SLOTS, FINISHERS = 24, 2
KERNEL = r"""
extern "C" __global__ void convert(const unsigned char *luma, const unsigned char *chroma, int width, int height,
                                   float *out, int size) {
    int x = blockIdx.x * blockDim.x + threadIdx.x, y = blockIdx.y * blockDim.y + threadIdx.y;
    if (x >= size || y >= size) return;
    float sx = (x + 0.5f) * width / size - 0.5f, sy = (y + 0.5f) * height / size - 0.5f;
    int x0 = max(0, (int)sx), y0 = max(0, (int)sy), x1 = min(x0 + 1, width - 1), y1 = min(y0 + 1, height - 1);
    float fx = sx - x0, fy = sy - y0;
    float a = luma[y0 * width + x0], b = luma[y0 * width + x1], c = luma[y1 * width + x0], d = luma[y1 * width + x1];
    float Y = 1.164f * ((a + fx * (b - a)) * (1 - fy) + (c + fx * (d - c)) * fy - 16);
    const unsigned char *uv = chroma + (y0 / 2) * width + (x0 / 2) * 2;
    float U = uv[0] - 128.0f, V = uv[1] - 128.0f, area = size * size;
    float rgb[3] = {Y + 1.793f * V, Y - 0.213f * U - 0.533f * V, Y + 2.112f * U};
    for (int k = 0; k < 3; k++) out[k * (int)area + y * size + x] = fminf(fmaxf(rgb[2 - k], 0), 255) / 255;
}
"""


def must(answer):
    status, *values = answer
    if int(status) != 0:
        raise RuntimeError(str(status))
    return values[0] if values else None


class Gpu:
    def __init__(self):
        import pycuda.driver as cuda
        from cuda.bindings import driver, nvrtc

        cuda.init()
        self.cuda, self.driver, device = cuda, driver, cuda.Device(0)
        self.context = device.retain_primary_context()
        self.context.push()
        program = must(nvrtc.nvrtcCreateProgram(KERNEL.encode(), b"k.cu", 0, [], []))
        major, minor = device.compute_capability()
        must(nvrtc.nvrtcCompileProgram(program, 1, [f"-arch=sm_{major}{minor}".encode()]))
        image = b" " * must(nvrtc.nvrtcGetCUBINSize(program))
        must(nvrtc.nvrtcGetCUBIN(program, image))
        self.kernel = cuda.module_from_buffer(image).get_function("convert")
        self.kernel.prepare("PPiiPi")


class Slot:
    def __init__(self, gpu, trt, engine):
        cuda, driver = gpu.cuda, gpu.driver
        self.stream, self.execution = cuda.Stream(1), engine.create_execution_context()
        flags = cuda.event_flags.BLOCKING_SYNC | cuda.event_flags.DISABLE_TIMING
        self.read, self.done = cuda.Event(flags), cuda.Event(flags)
        for index in range(engine.num_io_tensors):
            name = engine.get_tensor_name(index)
            host = cuda.pagelocked_zeros(tuple(engine.get_tensor_shape(name)), np.float32)
            memory = cuda.mem_alloc(host.nbytes)
            self.execution.set_tensor_address(name, int(memory))
            if engine.get_tensor_mode(name) == trt.TensorIOMode.INPUT:
                self.input = memory
            else:
                self.output, self.device_output = host, memory
        self._enqueue(cuda)
        self.stream.synchronize()
        mode = driver.CUstreamCaptureMode.CU_STREAM_CAPTURE_MODE_THREAD_LOCAL
        must(driver.cuStreamBeginCapture(self.stream.handle, mode))
        self._enqueue(cuda)
        graph = must(driver.cuStreamEndCapture(self.stream.handle))
        self.graph = must(driver.cuGraphInstantiate(graph, 0))

    def _enqueue(self, cuda):
        assert self.execution.execute_async_v3(self.stream.handle)
        cuda.memcpy_dtoh_async(self.output, self.device_output, self.stream)


def frames_of(gpu, args, stop):
    """Yield (frame, bytes of a row, rows), over and over, with one decoder for all rounds."""
    import PyNvVideoCodec as nvc  # noqa: N813 - as its own samples call it

    stream, decoder = gpu.cuda.Stream(1), None
    while not stop.is_set():
        demuxer = nvc.CreateDemuxer(filename=args.video)
        if decoder is None:
            decoder = nvc.CreateDecoder(
                gpuid=0, codec=demuxer.GetNvCodecId(), cudacontext=gpu.context.handle, cudastream=stream.handle,
                usedevicememory=True,
                latency=nvc.DisplayDecodeLatencyType.NATIVE if args.late else nvc.DisplayDecodeLatencyType.LOW,
            )  # fmt: skip
        for packet in demuxer:
            packet.decode_flag = int(nvc.VideoPacketFlag.ENDOFPICTURE) if packet.bsl and not args.late else 0
            for frame in decoder.Decode(packet):
                yield frame.GetPtrToPlane(0), frame.shape[1], frame.shape[0] * 2 // 3
            if stop.is_set():
                break


def decode_only(gpu, args, number, counts, stop):
    gpu.context.push()
    for _ in frames_of(gpu, args, stop):
        counts[number] += 1
    gpu.context.pop()


def camera(gpu, args, number, free, finishing, counts, stop):
    gpu.context.push()
    period_s = 1 / args.rate if args.rate else 0
    next_s = time.monotonic() + number * period_s / args.cameras
    for pointer, width, height in frames_of(gpu, args, stop):
        if period_s:
            time.sleep(max(0.0, next_s - time.monotonic()))
            next_s = max(next_s + period_s, time.monotonic() - 1)
        decoded_s = time.monotonic()
        counts[number] += 1
        slot = free.get()
        grid = (SIZE // 32, SIZE // 8)
        gpu.kernel.prepared_async_call(
            grid, (32, 8, 1), slot.stream, pointer, pointer + width * height, width, height, slot.input, SIZE
        )
        slot.read.record(slot.stream)
        must(gpu.driver.cuGraphLaunch(slot.graph, slot.stream.handle))
        slot.done.record(slot.stream)
        finishing.put((slot, number, width, height, decoded_s))
        slot.read.synchronize()
    gpu.context.pop()


def finisher(gpu, args, free, finishing, send, tally):
    gpu.context.push()
    while (item := finishing.get()) is not None:
        slot, number, width, height, decoded_s = item
        slot.done.synchronize()
        found = parse(slot.output[0], args.score, width, height)
        free.put(slot)
        send(number, found)
        tally.append((time.monotonic(), time.monotonic() - decoded_s))
    gpu.context.pop()


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("part", choices=("decode", "run"))
    parser.add_argument("video")
    parser.add_argument("plan", nargs="?")
    parser.add_argument("--cameras", type=int, default=16)
    parser.add_argument("--seconds", type=float, default=10)
    parser.add_argument("--rate", type=float, default=0)
    parser.add_argument("--late", action="store_true", help="let the decoder keep pictures back, as its default is")
    parser.add_argument("--score", type=float, default=0.5)
    args = parser.parse_args()
    gpu, stop, counts, tallies = Gpu(), threading.Event(), [0] * args.cameras, [[] for _ in range(FINISHERS)]
    threads, ends, finishing = [], [], queue.SimpleQueue()
    if args.part == "decode":
        threads = [threading.Thread(target=decode_only, args=(gpu, args, n, counts, stop)) for n in range(args.cameras)]
    else:
        import msgpack
        import tensorrt as trt
        import zmq

        logger = trt.Logger(trt.Logger.ERROR)
        engine = trt.Runtime(logger).deserialize_cuda_engine(Path(args.plan).read_bytes())
        free, lock = queue.SimpleQueue(), threading.Lock()
        for _ in range(SLOTS):
            free.put(Slot(gpu, trt, engine))
        socket = zmq.Context.instance().socket(zmq.PUB)
        socket.bind("ipc:///tmp/gpu_by_hand.sock")

        def send(number, found):
            body = msgpack.packb({"camera": number, "t": time.time_ns(), "found": found})
            with lock:
                socket.send_multipart([b"%d" % number, body])

        ends = [threading.Thread(target=finisher, args=(gpu, args, free, finishing, send, tally)) for tally in tallies]
        threads = [
            threading.Thread(target=camera, args=(gpu, args, n, free, finishing, counts, stop))
            for n in range(args.cameras)
        ]
    for thread in (*ends, *threads):
        thread.start()
    time.sleep(5)  # decoders are made
    before, begin_s, cpu_s = sum(counts), time.monotonic(), time.process_time()
    time.sleep(args.seconds)
    decoded, end_s, cpu_s = sum(counts) - before, time.monotonic(), time.process_time() - cpu_s
    took_s = end_s - begin_s
    stop.set()
    for thread in threads:
        thread.join()
    for _ in ends:
        finishing.put(None)
    for thread in ends:
        thread.join()
    ages = sorted(1000 * age for tally in tallies for at_s, age in tally if begin_s <= at_s <= end_s)
    row = {"decoded_hz": round(decoded / took_s, 1), "cores": round(cpu_s / took_s, 2)}
    if ages:
        row |= {
            "sent_hz": round(len(ages) / took_s, 1),
            "p50_ms": round(ages[len(ages) // 2], 2),
            "p99_ms": round(ages[int(len(ages) * 0.99)], 2),
        }
    print(json.dumps(row), flush=True)
    import os

    os._exit(0)  # what is left goes with the process


if __name__ == "__main__":
    main()
