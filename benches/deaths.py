#!/usr/bin/env python3
"""How soon a dead worker's task is with another: `benches/deaths.py [KILLED [STOPPED]]`, a Python with pyzmq.

    cargo build --release

A plain REP worker has a task and is killed with -9 while another waits; the time is from the signal to the
task's arrival at the other, by the monotonic clock all processes share. Others are stopped with -STOP, one
after the other while as many wait: like who is behind a cut cable, they are silent and their connections stay.
"""

import multiprocessing
import os
import signal
import statistics
import subprocess
import sys
import tempfile
import time

import zmq

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
ZMQNET = os.environ.get("ZMQNET", os.path.join(ROOT, "target/release/zmqnet"))
PORT = int(os.environ.get("PORT", "11940"))
COUNT = int(sys.argv[1]) if len(sys.argv) > 1 else 100
STOPPED = int(sys.argv[2]) if len(sys.argv) > 2 else 40


def work(notes):
    socket = zmq.Context().socket(zmq.REP)
    socket.connect(f"tcp://127.0.0.1:{PORT + 1}")
    while True:
        task = socket.recv()
        notes.send((time.monotonic(), task))
        # The task is answered only when the parent says so.
        notes.recv()
        socket.send(b"done")


def start():
    ours, theirs = multiprocessing.Pipe()
    process = multiprocessing.Process(target=work, args=(theirs,), daemon=True)
    process.start()
    return process, ours


def killed():
    times = []
    client = zmq.Context().socket(zmq.REQ)
    client.connect(f"tcp://127.0.0.1:{PORT}")
    holder, pipe = start()
    for number in range(COUNT):
        client.send(str(number).encode())
        pipe.recv()
        next_holder, next_pipe = start()
        time.sleep(0.3)
        killed_at = time.monotonic()
        holder.kill()
        arrived, _task = next_pipe.recv()
        times.append((arrived - killed_at) * 1000)
        next_pipe.send(True)
        client.recv()
        holder.join()
        holder, pipe = next_holder, next_pipe
    holder.kill()
    holder.join()
    return times


def stopped():
    client = zmq.Context().socket(zmq.DEALER)
    client.connect(f"tcp://127.0.0.1:{PORT}")
    holders = [start() for _ in range(STOPPED)]
    time.sleep(1)
    for number in range(STOPPED):
        client.send_multipart([b"", b"%d" % number])
    tasks = [pipe.recv()[1] for _, pipe in holders]
    others = [start() for _ in range(STOPPED)]
    time.sleep(1)
    stopped_at = {}
    for (process, _), task in zip(holders, tasks):
        stopped_at[task] = time.monotonic()
        os.kill(process.pid, signal.SIGSTOP)
        time.sleep(0.05)
    times = []
    for _, pipe in others:
        arrived, task = pipe.recv()
        times.append((arrived - stopped_at[task]) * 1000)
    for process, _ in holders + others:
        process.kill()
        process.join()
    return times


def show(what, times):
    times.sort()
    p99 = times[min(len(times) - 1, int(len(times) * 0.99))]
    middle = statistics.median(times)
    print(f"{len(times)} {what} workers: p50 {middle:.1f} ms, p99 {p99:.1f} ms, max {times[-1]:.1f} ms")


def main():
    directory = tempfile.mkdtemp(prefix="deaths-")
    manifest = os.path.join(directory, "deaths.yaml")
    with open(manifest, "w", encoding="utf-8") as file:
        file.write(f"zmqnet: 1\nname: deaths\nnodes:\n  jobs: {{kind: queue, port: {PORT}, attempts: 1000}}\n")
    subprocess.run([ZMQNET, "apply", "-f", manifest], check=True, capture_output=True)
    try:
        show("killed", killed())
        show("stopped", stopped())
    finally:
        subprocess.run([ZMQNET, "down", "-f", manifest], check=True, capture_output=True)


main()
