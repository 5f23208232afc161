#!/usr/bin/env python3
"""How soon a dead worker's task is with another: `benches/deaths.py [KILLED [STOPPED [CUT]]]`, a Python with pyzmq.

    cargo build --release

A plain REP worker has a task and is killed with -9 while another waits; the time is from the signal to the
task's arrival at the other, by the monotonic clock all processes share. Others are stopped with -STOP, one
after the other while as many wait: they are silent and their connections stay. As root, others work in network
namespaces of their own, each behind a cable that is cut (the link is set down) while it has a task.
"""

import ctypes
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
CUT = int(sys.argv[3]) if len(sys.argv) > 3 else (40 if os.geteuid() == 0 else 0)
# Of ours alone, as the second of two namespaces that are made and removed with this process.
SPACE = f"zd{os.getpid() % 100000}"
HUB = "10.77.0.1"


def work(notes, address="127.0.0.1"):
    socket = zmq.Context().socket(zmq.REP)
    socket.connect(f"tcp://{address}:{PORT + 1}")
    while True:
        task = socket.recv()
        notes.send((time.monotonic(), task))
        # The task is answered only when the parent says so.
        notes.recv()
        socket.send(b"done")


def start(address="127.0.0.1"):
    ours, theirs = multiprocessing.Pipe()
    process = multiprocessing.Process(target=work, args=(theirs, address), daemon=True)
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


def ip(*words):
    subprocess.run(["ip", *words], check=True)


def enter(name):
    """Puts this process into a network namespace; Python has `os.setns` from 3.12 on."""
    with open(f"/run/netns/{name}", encoding="ascii") as space:
        if ctypes.CDLL(None, use_errno=True).setns(space.fileno(), 0) != 0:
            raise OSError(ctypes.get_errno(), name)


def far(notes, number):
    """A worker behind a cable of its own: in the namespace number N."""
    enter(f"{SPACE}-{number}")
    work(notes, HUB)


def cables(count):
    """The queue's namespace with a switch in it, and for each worker one with a cable to that."""
    ip("netns", "add", SPACE)
    ip("-n", SPACE, "link", "set", "lo", "up")
    ip("-n", SPACE, "link", "add", "switch", "type", "bridge")
    ip("-n", SPACE, "addr", "add", f"{HUB}/24", "dev", "switch")
    ip("-n", SPACE, "link", "set", "switch", "up")
    for number in range(count):
        name, here = f"{SPACE}-{number}", f"h{number}"
        ip("netns", "add", name)
        ip("-n", SPACE, "link", "add", here, "type", "veth", "peer", "name", "far", "netns", name)
        ip("-n", SPACE, "link", "set", here, "master", "switch", "up")
        ip("-n", name, "addr", "add", f"10.77.0.{number + 2}/24", "dev", "far")
        ip("-n", name, "link", "set", "far", "up")


def uncable(count):
    for name in [SPACE, *(f"{SPACE}-{number}" for number in range(count))]:
        subprocess.run(["ip", "netns", "del", name], check=False)


def cut():
    """Within the queue's namespace: workers far away have tasks, and their cables are cut one by one."""
    client = zmq.Context().socket(zmq.DEALER)
    client.connect(f"tcp://{HUB}:{PORT}")
    holders = []
    for number in range(CUT):
        ours, theirs = multiprocessing.Pipe()
        process = multiprocessing.Process(target=far, args=(theirs, number), daemon=True)
        process.start()
        holders.append((process, ours))
    time.sleep(2)
    for number in range(CUT):
        client.send_multipart([b"", b"%d" % number])
    tasks = [pipe.recv()[1] for _, pipe in holders]
    others = [start(HUB) for _ in range(CUT)]
    time.sleep(1)
    cut_at = {}
    for number, task in enumerate(tasks):
        cut_at[task] = time.monotonic()
        ip("-n", f"{SPACE}-{number}", "link", "set", "far", "down")
        time.sleep(0.05)
    times = []
    for _, pipe in others:
        arrived, task = pipe.recv()
        times.append((arrived - cut_at[task]) * 1000)
    for process, _ in holders + others:
        process.kill()
        process.join()
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


FAR = f"""security: {{curve: never}}
hosts: {{here: {{address: {HUB}}}, there: {{address: 10.77.0.2}}}}
links:
  tasks: {{pattern: request, from: client, to: worker, via: jobs}}
nodes:
  client: {{kind: external, host: there}}
  worker: {{kind: external, host: there}}
  jobs: {{kind: queue, host: here, port: {PORT}, attempts: 1000}}
"""
NEAR = f"nodes:\n  jobs: {{kind: queue, port: {PORT}, attempts: 1000}}\n"


def up(manifest, nodes):
    with open(manifest, "w", encoding="utf-8") as file:
        file.write(f"zmqnet: 1\nname: deaths\n{nodes}")
    subprocess.run([ZMQNET, "apply", "-f", manifest], check=True, capture_output=True)


def main():
    directory = tempfile.mkdtemp(prefix="deaths-")
    manifest = os.path.join(directory, "deaths.yaml")
    up(manifest, NEAR)
    try:
        show("killed", killed())
        show("stopped", stopped())
    finally:
        subprocess.run([ZMQNET, "down", "-f", manifest], check=True, capture_output=True)
    if CUT == 0:
        return
    try:
        cables(CUT)
        enter(SPACE)
        up(manifest, FAR)
        show("cut off", cut())
    finally:
        subprocess.run([ZMQNET, "down", "-f", manifest], check=False, capture_output=True)
        uncable(CUT)


main()
