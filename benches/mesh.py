#!/usr/bin/env python3
"""Round trips of one replica and of a mesh of three, beside libzmq and pyzmq, in one run.

    cargo build --release
    gcc -O2 benches/zb.c -o zb -lzmq
    ZB=./zb python3 benches/mesh.py         # needs pyzmq; ROUNDS=5 SECONDS=2 are the defaults

Each round runs every contestant once, one after the other, so that a noisy neighbour meets them all;
what is printed is the median of the rounds and the ratio to libzmq's, or pyzmq's, of the same rounds.
The replicas are started as a plan starts them: ipc among themselves, TCP for the client.
"""

import json
import os
import re
import socket
import statistics
import subprocess
import sys
import tempfile
import time

import roles

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
ZMQNET = os.environ.get("ZMQNET", os.path.join(ROOT, "target/release/zmqnet"))
ZB = os.environ.get("ZB", "./zb")
ROUNDS = int(os.environ.get("ROUNDS", "5"))
SECONDS = float(os.environ.get("SECONDS", "2"))
NAMES = ["alpha", "bravo", "charlie"]

# The same mesh in pyzmq: a REP that bounces each SINGLE to all others at once.
PYREPLICA = r"""
import sys, zmq
name, bind, peers = sys.argv[1], sys.argv[2].split(","), sys.argv[3:]
context = zmq.Context()
rep = context.socket(zmq.REP)
for endpoint in bind:
    rep.bind(endpoint)
others = []
for endpoint in peers:
    req = context.socket(zmq.REQ)
    req.connect(endpoint)
    others.append(req)

def field(number, text):
    return bytes([number << 3 | 2, len(text)]) + text

received = 0
ack = b"\x08\x01" + field(2, name.encode()) + field(3, b"ACK")
while True:
    request = rep.recv()
    received += 1
    if request[0] == 8:
        rep.send(ack)
        continue
    text = request[2 + request[1] :][2:]
    bounce = b"\x08\x01" + field(2, name.encode()) + field(3, text)
    for req in others:
        req.send(bounce)
    for req in others:
        req.recv()
    rep.send(field(2, name.encode()) + field(3, b"reply msg #%d" % received))
"""


class Fleet:
    """Processes that end with their contestant."""

    def __init__(self, commands, ready):
        quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
        # libzmq's own are left as anybody starts them.
        envs = [roles.environment() if command[0] == ZMQNET else None for command in commands]
        self.processes = [subprocess.Popen(command, env=env, **quiet) for command, env in zip(commands, envs)]
        for port in ready:
            deadline = time.time() + 20
            while socket.socket().connect_ex(("127.0.0.1", port)):
                assert time.time() < deadline, f"nobody listens on {port}"
                time.sleep(0.02)
        time.sleep(0.5)  # the replicas find each other

    def __enter__(self):
        return self

    def __exit__(self, *_):
        for process in self.processes:
            process.terminate()
        for process in self.processes:
            process.wait()


def free_ports(count):
    held = [socket.socket() for _ in range(count)]
    for one in held:
        one.bind(("127.0.0.1", 0))
    ports = [one.getsockname()[1] for one in held]
    for one in held:
        one.close()
    return ports


def bench(port, scratch):
    """`zmqnet bench`: messages a second and the median round trip in microseconds."""
    results = os.path.join(scratch, "results.json")
    command = [ZMQNET, "bench", "--endpoint", f"tcp://127.0.0.1:{port}", "-n", "bravo"]
    command += ["-d", f"{SECONDS}s", "-o", results, "--verbosity", "4"]
    subprocess.run(command, check=True)
    with open(results) as lines:
        line = json.loads(lines.readlines()[-1])
    return line["throughput (msg/sec)"], line["p50 (nsec)"] / 1000


def zb(port):
    command = [ZB, "rtt", f"tcp://127.0.0.1:{port}", str(int(15000 * SECONDS)), "64"]
    said = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    rate, p50 = re.search(r"rt_s=(\d+) p50_us=([\d.]+)", said).groups()
    return float(rate), float(p50)


def told(scratch, count, is_tcp):
    """The files and the ports of `count` replicas."""
    ports = free_ports(count)

    def endpoint(index):
        if is_tcp:
            return f"tcp://127.0.0.1:{ports[index]}"
        return f"ipc://{scratch}/{ports[index]}.sock"

    files = []
    for index in range(count):
        listen = [f"tcp://127.0.0.1:{ports[index]}"] + ([] if is_tcp else [endpoint(index)])
        peers = [[NAMES[i], endpoint(i)] for i in range(count) if i != index]
        config = {"name": NAMES[index], "listen": listen, "peers": peers}
        config |= {"health": f"ipc://{scratch}/health.{ports[index]}.sock", "broadcast_ms": 1000}
        files.append(os.path.join(scratch, f"{ports[index]}.json"))
        with open(files[-1], "w") as out:
            json.dump({"replica": config}, out)
    return files, ports


def replicas(scratch, count, is_tcp=False):
    files, ports = told(scratch, count, is_tcp)
    return Fleet([[ZMQNET, "__role", file] for file in files], ports), ports[min(1, count - 1)]


def pymesh(scratch):
    ports = free_ports(3)
    ipc = [f"ipc://{scratch}/py{port}.sock" for port in ports]
    commands = []
    for index, name in enumerate(NAMES):
        bind = f"tcp://127.0.0.1:{ports[index]},{ipc[index]}"
        peers = [other for i, other in enumerate(ipc) if i != index]
        commands.append([sys.executable, "-c", PYREPLICA, name, bind, *peers])
    return Fleet(commands, ports), ports[1]


def libzmq_direct(scratch):
    [port] = free_ports(1)
    with Fleet([[ZB, "rep", f"tcp://127.0.0.1:{port}", "bind"]], [port]):
        return zb(port)


def zb_to_replica(scratch):
    fleet, port = replicas(scratch, 1)
    with fleet:
        return zb(port)


def one_replica(scratch):
    fleet, port = replicas(scratch, 1)
    with fleet:
        return bench(port, scratch)


def mesh(scratch):
    fleet, port = replicas(scratch, 3)
    with fleet:
        return bench(port, scratch)


def mesh_tcp(scratch):
    fleet, port = replicas(scratch, 3, is_tcp=True)
    with fleet:
        return bench(port, scratch)


def mesh_pyzmq(scratch):
    fleet, port = pymesh(scratch)
    with fleet:
        return bench(port, scratch)


CONTESTANTS = [
    ("libzmq REQ to libzmq REP", libzmq_direct, 0),
    ("libzmq REQ to one replica", zb_to_replica, 0),
    ("`zmqnet bench` to one replica", one_replica, 0),
    ("`zmqnet bench` to a mesh of three in pyzmq", mesh_pyzmq, 3),
    ("`zmqnet bench` to a mesh of three, TCP", mesh_tcp, 3),
    ("`zmqnet bench` to a mesh of three, as planned", mesh, 3),
]


def main():
    rounds = []
    with tempfile.TemporaryDirectory(prefix="zb") as scratch:
        for number in range(ROUNDS):
            rounds.append([run(scratch) for _, run, _ in CONTESTANTS])
            print(f"round {number + 1} of {ROUNDS}", file=sys.stderr)
    print("| | msg/s, median [min..max] | p50 us | p50 against |")
    print("|---|---|---|---|")
    for index, (name, _, base) in enumerate(CONTESTANTS):
        rates = [one[index][0] for one in rounds]
        p50 = statistics.median(one[index][1] for one in rounds)
        ratio = statistics.median(one[index][1] / one[base][1] for one in rounds)
        spread = f"{statistics.median(rates):,.0f} [{min(rates):,.0f}..{max(rates):,.0f}]"
        print(f"| {name} | {spread} | {p50:.1f} | {ratio:.2f} |")


if __name__ == "__main__":
    main()
