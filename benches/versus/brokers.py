#!/usr/bin/env python3
"""Our brokers beside what would run in their place: libzmq's proxies, NATS, Redis.

    cargo build --release
    benches/versus/brokers.py install              # nats-server, redis-server, libzmq3-dev from Debian; builds zb and natsb
    benches/versus/brokers.py bus                  # or: queue

ROUNDS=5 (the medians of so many are printed), SIZES=64,1024, SUBSCRIBERS=1,4, MESSAGES=400000,
TRIPS=30000, RATE=60000 (the requests a second at half load, whatever is answered; a latency counts from when each was due). Every round runs
every contestant once, one after the other, so that a noisy neighbour meets them all. Nothing may be
lost: a publisher is never more than 20,000 messages ahead of its slowest subscriber. The clients are
C (libzmq), Rust (NATS) and raw sockets (Redis), so that no client's Python is measured. A contestant
whose program is missing is named and left out.
"""

import os
import random
import re
import shutil
import socket
import statistics
import subprocess
import sys
import tempfile
import time

HERE = os.path.dirname(os.path.abspath(__file__))
ROOT = os.path.dirname(os.path.dirname(HERE))
BUILT = os.path.join(ROOT, "target/versus")
ZMQNET = os.environ.get("ZMQNET", os.path.join(ROOT, "target/release/zmqnet"))
ZB = os.environ.get("ZB", os.path.join(BUILT, "zb"))
NATSB = os.environ.get("NATSB", os.path.join(BUILT, "release/natsb"))
ROUNDS = int(os.environ.get("ROUNDS", "5"))
SUBSCRIBERS = [int(count) for count in os.environ.get("SUBSCRIBERS", "1,4").split(",")]
SIZES = [int(size) for size in os.environ.get("SIZES", "64,1024").split(",")]
MESSAGES = os.environ.get("MESSAGES", "400000")
TRIPS = os.environ.get("TRIPS", "30000")
RATE = os.environ.get("RATE", "60000")
ONLY = [name for name in os.environ.get("ONLY", "").split(",") if name]
WINDOW = "20000"
# libzmq's own limit of 1,000 messages would be what is measured.
UNBOUNDED = {**os.environ, "ZB_HWM": "0"}

directory = tempfile.mkdtemp(prefix="versus-")


def free_ports(count):
    sockets = [socket.socket() for _ in range(count)]
    for one in sockets:
        one.bind(("127.0.0.1", 0))
    ports = [one.getsockname()[1] for one in sockets]
    for one in sockets:
        one.close()
    return ports


def consecutive_ports(count):
    """The first of as many free ports in a row, where the kernel gives none to whoever dials."""
    while True:
        first = random.randrange(20_000, 30_000)
        try:
            for port in range(first, first + count):
                with socket.socket() as one:
                    one.bind(("127.0.0.1", port))
            return first
        except OSError:
            continue


def wait_listening(port):
    deadline = time.monotonic() + 10
    while time.monotonic() < deadline:
        with socket.socket() as one:
            if one.connect_ex(("127.0.0.1", port)) == 0:
                return
        time.sleep(0.02)
    raise SystemExit(f"nobody listens on port {port}")


class Broker:
    """A broker that runs; `load` runs a client against it and returns its figures by name."""

    name = "?"
    program = "?"

    def __init__(self, job):
        self.job = job
        self.ports = free_ports(2)
        self.processes = []
        self.start()
        wait_listening(self.ports[0])

    def spawn(self, *args, **options):
        quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
        self.processes.append(subprocess.Popen(args, **quiet, **options))

    def endpoint(self, index):
        return f"tcp://127.0.0.1:{self.ports[index]}"

    def workers(self):
        """Where clients ask and plain REP workers answer."""
        for _ in range(4):
            self.spawn(ZB, "rep", self.endpoint(1), "connect", env=UNBOUNDED)
        time.sleep(0.5)

    def load(self, *args):
        return figures([ZB, *args], UNBOUNDED)

    def bus(self, subscribers, size):
        ends = (self.endpoint(0), self.endpoint(1))
        return self.load("pubsub", *ends, str(subscribers), MESSAGES, str(size), WINDOW)["delivered_msg_s"]

    def trips(self, size):
        return self.load("clients", self.endpoint(0), "4", TRIPS, str(size))

    def paced(self, size):
        return self.load("pace", self.endpoint(0), RATE, TRIPS, str(size))["p99_us"]

    def in_flight(self, size):
        return self.load("dealer", self.endpoint(0), "64", TRIPS, str(size))["rt_s"]

    def end(self):
        for process in reversed(self.processes):
            process.terminate()
        for process in self.processes:
            process.wait()


class Zmqnet(Broker):
    name, program = "zmqnet", ZMQNET
    MANIFESTS = {
        "bus": "zmqnet: 1\nname: versus-{0}\nnodes:\n  bus: {{kind: bus, port: {0}}}\n",
        "queue": (
            "zmqnet: 1\nname: versus-{0}\nnodes:\n"
            "  jobs: {{kind: queue, port: {0}}}\n"
            "  client: {{command: [sleep, '1'], run: manual}}\n"
            "  worker: {{command: [sleep, '1'], run: manual}}\n"
            "links:\n  tasks: {{pattern: request, from: client, to: worker, via: jobs}}\n"
        ),
    }

    def start(self):
        # Consecutive ports, as the manifest gives them.
        self.ports[0] = consecutive_ports(3)
        self.ports[1] = self.ports[0] + 1
        self.manifest = os.path.join(directory, f"versus-{self.ports[0]}.yaml")
        with open(self.manifest, "w", encoding="utf-8") as file:
            file.write(self.MANIFESTS[self.job].format(self.ports[0]))
        self.command("apply")

    def command(self, verb):
        done = subprocess.run([ZMQNET, verb, "-f", self.manifest], capture_output=True, text=True)
        if done.returncode:
            raise SystemExit(f"zmqnet {verb}: {done.stderr}")

    def end(self):
        super().end()
        self.command("down")


class Libzmq(Broker):
    name, program = "libzmq", ZB

    def start(self):
        proxy = {"bus": "xproxy", "queue": "qproxy"}[self.job]
        self.spawn(ZB, proxy, self.endpoint(0), self.endpoint(1), env=UNBOUNDED)


class Nats(Broker):
    name, program = "NATS", "nats-server"

    def start(self):
        self.spawn("nats-server", "-a", "127.0.0.1", "-p", str(self.ports[0]))

    def workers(self):
        pass

    def load(self, *args):
        return figures([NATSB, f"nats://127.0.0.1:{self.ports[0]}", *args])

    def bus(self, subscribers, size):
        return self.load("pubsub", str(subscribers), MESSAGES, str(size), WINDOW)["delivered_msg_s"]

    def trips(self, size):
        return self.load("queue", "4", "4", "1", TRIPS, str(size))

    def paced(self, size):
        return self.load("pace", "4", RATE, TRIPS, str(size))["p99_us"]

    def in_flight(self, size):
        return self.load("queue", "4", "1", "64", TRIPS, str(size))["rt_s"]


class Redis(Broker):
    name, program = "Redis", "redis-server"

    def start(self):
        options = ["--bind", "127.0.0.1", "--save", "", "--appendonly", "no", "--dir", directory]
        # Its limit of 32 MB for a subscriber that is behind would end the slowest one.
        options += ["--client-output-buffer-limit", "pubsub", "0", "0", "0"]
        self.spawn("redis-server", "--port", str(self.ports[0]), *options)

    def bus(self, subscribers, size):
        client = [sys.executable, os.path.join(HERE, "redis_pubsub.py"), str(self.ports[0])]
        return figures([*client, str(subscribers), MESSAGES, str(size), WINDOW])["delivered_msg_s"]


CONTESTANTS = {"bus": [Zmqnet, Libzmq, Nats, Redis], "queue": [Zmqnet, Libzmq, Nats]}


def figures(command, env=None):
    done = subprocess.run(command, capture_output=True, text=True, timeout=200, env=env)
    found = dict(re.findall(r"(\w+)=([\d.]+)", done.stdout))
    if done.returncode or not found:
        raise SystemExit(f"{' '.join(command)}: {done.stdout}{done.stderr}")
    if found.get("lost", "0") != "0":
        print(f"  lost {found['lost']}: {' '.join(command)}", file=sys.stderr)
    return {name: float(value) for name, value in found.items()}


def measure_bus(broker):
    for size in SIZES:
        for subscribers in SUBSCRIBERS:
            yield f"1:{subscribers} {size} B, delivered/s", broker.bus(subscribers, size)


def measure_queue(broker):
    broker.workers()
    for size in SIZES:
        trips = broker.trips(size)
        yield f"4 clients {size} B, trips/s", trips["rt_s"]
        yield f"4 clients {size} B, p99 us", trips["p99_us"]
        yield f"64 in flight {size} B, trips/s", broker.in_flight(size)
        yield f"{RATE} a second {size} B, p99 us", broker.paced(size)


MEASURES = {"bus": measure_bus, "queue": measure_queue}


def contestants(job):
    for contestant in CONTESTANTS[job]:
        if ONLY and contestant.name not in ONLY:
            continue
        if shutil.which(contestant.program):
            yield contestant
        else:
            print(f"{contestant.name} is left out: no {contestant.program}", file=sys.stderr)


def run(job):
    rows = {}
    here = list(contestants(job))
    for number in range(ROUNDS):
        for contestant in here:
            broker = contestant(job)
            try:
                for row, figure in MEASURES[job](broker):
                    rows.setdefault(row, {}).setdefault(contestant.name, []).append(figure)
            finally:
                broker.end()
        print(f"round {number + 1} of {ROUNDS}", file=sys.stderr)
    names = [contestant.name for contestant in here]
    print(f"| {job} | {' | '.join(names)} | zmqnet to the best other |")
    print("|---" * (len(names) + 2) + "|")
    for row, by_name in rows.items():
        medians = {name: statistics.median(by_name[name]) for name in names}
        others = [figure for name, figure in medians.items() if name != Zmqnet.name]
        is_time = row.endswith(" us")
        ratio = "-"
        if others and Zmqnet.name in medians:
            ratio = f"{medians[Zmqnet.name] / (min if is_time else max)(others):.2f}"
        shown = " | ".join(f"{medians[name]:,.0f}" for name in names)
        print(f"| {row} | {shown} | {ratio} |")


def install():
    packages = ["nats-server", "redis-server", "libzmq3-dev", "gcc"]
    subprocess.run(["apt-get", "install", "-y", "--no-install-recommends", *packages], check=True)
    os.makedirs(BUILT, exist_ok=True)
    source = os.path.join(ROOT, "benches/zb.c")
    subprocess.run(["gcc", "-O2", source, "-o", os.path.join(BUILT, "zb"), "-lzmq"], check=True)
    build = ["cargo", "build", "--release", "--target-dir", BUILT]
    subprocess.run(build, check=True, cwd=os.path.join(HERE, "natsb"))


def main():
    match sys.argv[1:]:
        case ["install"]:
            install()
        case [("bus" | "queue") as job]:
            run(job)
        case _:
            raise SystemExit(__doc__)


if __name__ == "__main__":
    main()
