"""The script people write by hand, well tuned: a thread per camera, OpenCV, one shared ONNX Runtime session.

    python bench/by_hand.py VIDEO MODEL --cameras 4 --seconds 20 [--rate 10]

It decodes FastestDet's input the way its authors do (BGR, stretched, 0..1), parses with numpy and sends over
ZeroMQ, so that it does the same work as edged. Prints one JSON line: frames, seconds, CPU seconds, latencies.
"""

import argparse
import json
import os

for name in ("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS"):
    os.environ.setdefault(name, "1")

import threading
import time

import cv2
import msgpack
import onnxruntime as ort
import zmq
from fastestdet import SIZE, parse


def camera(number, args, session, send, tally, until_s):
    capture = cv2.VideoCapture(args.video, cv2.CAP_FFMPEG, [cv2.CAP_PROP_N_THREADS, 1])
    name = session.get_inputs()[0].name
    period_s = 1 / args.rate if args.rate else 0
    next_s = time.monotonic() + number * period_s / args.cameras
    while time.monotonic() < until_s:
        if period_s:
            time.sleep(max(0.0, next_s - time.monotonic()))
            next_s += period_s
        ok, frame = capture.read()
        if not ok:
            capture.set(cv2.CAP_PROP_POS_FRAMES, 0)
            continue
        decoded_s = time.monotonic()
        blob = cv2.dnn.blobFromImage(frame, 1 / 255, (SIZE, SIZE))
        (output,) = session.run(None, {name: blob})
        found = parse(output[0], args.score, frame.shape[1], frame.shape[0])
        send(number, found)
        tally.append(time.monotonic() - decoded_s)
    capture.release()


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("video")
    parser.add_argument("model")
    parser.add_argument("--cameras", type=int, default=4)
    parser.add_argument("--seconds", type=float, default=20)
    parser.add_argument("--rate", type=float, default=0, help="frames a second and camera; 0: as fast as possible")
    parser.add_argument("--score", type=float, default=0.5)
    args = parser.parse_args()
    cv2.setNumThreads(1)
    options = ort.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    session = ort.InferenceSession(args.model, options)
    socket = zmq.Context.instance().socket(zmq.PUB)
    socket.bind("ipc:///tmp/by_hand.sock")
    lock = threading.Lock()

    def send(number, found):
        body = msgpack.packb({"camera": number, "t": time.time_ns(), "found": found})
        with lock:
            socket.send_multipart([b"%d" % number, body])

    tallies = [[] for _ in range(args.cameras)]
    begin_s, cpu_s = time.monotonic(), time.process_time()
    until_s = begin_s + args.seconds
    threads = [
        threading.Thread(target=camera, args=(n, args, session, send, tallies[n], until_s)) for n in range(args.cameras)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    latencies_ms = sorted(1000 * latency for tally in tallies for latency in tally)
    print(
        json.dumps(
            {
                "frames": len(latencies_ms),
                "seconds": time.monotonic() - begin_s,
                "cpu_s": time.process_time() - cpu_s,
                "p50_ms": latencies_ms[len(latencies_ms) // 2],
                "p99_ms": latencies_ms[int(len(latencies_ms) * 0.99)],
            }
        )
    )
    socket.close(0)


if __name__ == "__main__":
    main()
