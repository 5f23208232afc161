#!/usr/bin/env python3
"""What a gate costs, beside going without one and beside libzmq's proxy in its place, in one run.

    cargo build --release
    gcc -O2 benches/gate.c -o gate -lzmq
    GATE=./gate python3 benches/gate.py            # needs pyzmq

ROUNDS=5, RTTS=10000, MESSAGES=1000000 (of 1 KiB through one gate) and FAN=5000000 (with a subscriber
that never reads; 0 leaves it out) are the defaults. PACE=N publishes at most so many in a second. Each round runs every contestant once, one after
the other, so that a noisy neighbour meets them all; what is printed is the median of the rounds and
the ratios of the medians.
"""

import json
import os
import statistics
import subprocess
import sys
import tempfile
import time

import zmq

import roles

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
ZMQNET = os.environ.get("ZMQNET", os.path.join(ROOT, "target/release/zmqnet"))
GATE = os.environ.get("GATE", "./gate")
ROUNDS = int(os.environ.get("ROUNDS", "5"))
RTTS = os.environ.get("RTTS", "10000")
MESSAGES = os.environ.get("MESSAGES", "1000000")
FAN = int(os.environ.get("FAN", "5000000"))
BUDGET = int(os.environ.get("BUDGET", str(64 << 20)))
FIRST_PORT = int(os.environ.get("FIRST_PORT", "29100"))

directory = tempfile.mkdtemp()
ports = iter(range(FIRST_PORT, FIRST_PORT + 800))


def endpoint():
    return f"tcp://127.0.0.1:{next(ports)}"


class Gate:
    """A gate of one door: it listens at `outer` for a program that binds `inner`."""

    def __init__(self, pattern, side, socket, overflow):
        self.outer, self.inner = endpoint(), endpoint()
        self.health = f"ipc://{directory}/health.{next(ports)}"
        config = {
            "name": "program-gate",
            "program": "program",
            "doors": [
                {
                    "name": "door",
                    "links": ["link"],
                    "pattern": pattern,
                    "side": side,
                    "socket": socket,
                    "inner": self.inner,
                    "outer": {"listens": {"at": [self.outer]}},
                    "overflow": overflow,
                }
            ],
            "limits": {"peer_bytes_max": BUDGET},
            "health": self.health,
        }
        told = os.path.join(directory, f"told.{next(ports)}.json")
        with open(told, "w", encoding="utf-8") as file:
            json.dump({"gate": config}, file)
        self.process = subprocess.Popen([ZMQNET, "__role", told], env=roles.environment(ZMQNET_LOG="error"))
        self.status()

    def status(self):
        with zmq.Context() as context, context.socket(zmq.DEALER) as dealer:
            dealer.linger, dealer.rcvtimeo = 0, 10_000
            dealer.connect(self.health)
            dealer.send_multipart([b"ZN1", b"status", b""])
            return json.loads(dealer.recv_multipart()[3])

    def memory(self):
        with open(f"/proc/{self.process.pid}/status", encoding="utf-8") as file:
            row = next(line for line in file if line.startswith("VmHWM"))
        return int(row.split()[1]) / 1024

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.process.terminate()
        self.process.wait()


def run(*args):
    done = subprocess.run([GATE, *args], stdout=subprocess.PIPE, text=True, timeout=600)
    return [float(word) for word in done.stdout.split()]


def background(*args, **options):
    return subprocess.Popen([GATE, *args], **options)


def end(process):
    process.terminate()
    process.wait()


def direct_rtt():
    at = endpoint()
    echo = background("rep", at)
    took = run("rtt", at, RTTS, "64")
    end(echo)
    return took[0]


def gated_rtt():
    with Gate("request", "to", "REP", "block") as gate:
        echo = background("rep", gate.inner)
        took = run("rtt", gate.outer, RTTS, "64")
        end(echo)
    return took[0]


def piped(front, back):
    return run("pipe", front, back, MESSAGES, "1024")[0]


def direct_pipe():
    at = endpoint()
    return piped(at, at)


def proxied_pipe():
    front, back = endpoint(), endpoint()
    proxy = background("proxy", front, back)
    rate = piped(front, back)
    end(proxy)
    return rate


def gated_pipe():
    with Gate("pipeline", "to", "PULL", "block") as gate:
        return piped(gate.outer, gate.inner)


def fan(readers, stalled):
    """The rate of those who read; what the gate dropped for the stalled one, and its memory."""
    with Gate("pubsub", "from", "XPUB", "drop-newest") as gate:
        args = ["fan", gate.inner, gate.outer, str(readers), str(stalled), str(FAN), "1024", "2000"]
        load = background(*args, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        rate = float(load.stdout.readline())
        counted = None
        if stalled:
            # What the kernel still hands over after the last message is over in a moment.
            time.sleep(1)
            wires = [pair["out"] for pair in gate.status()["pairs"]]
            slow = min(wires, key=lambda way: way["sent"])
            others = [way for way in wires if way is not slow]
            assert all(way["sent"] == FAN and way["dropped_all"] == 0 for way in others), others
            assert slow["matched"] == FAN, slow
            assert slow["sent"] + slow["queued"] + slow["dropped_all"] == FAN, slow
            counted = (slow["dropped_all"], slow["queued_bytes"] / (1 << 20), gate.memory())
        load.stdin.write("\n")
        load.stdin.flush()
        load.wait()
        return rate, counted


def main():
    rounds = {name: [] for name in ("direct rtt", "gated rtt", "direct", "zmq_proxy", "gate")}
    with_stalled, without, with_third, counts = [], [], [], []
    for number in range(ROUNDS):
        rounds["direct rtt"].append(direct_rtt())
        rounds["gated rtt"].append(gated_rtt())
        rounds["direct"].append(direct_pipe())
        rounds["zmq_proxy"].append(proxied_pipe())
        rounds["gate"].append(gated_pipe())
        line = ", ".join(f"{name} {values[-1]:.0f}" for name, values in rounds.items())
        print(f"round {number + 1}: {line}", file=sys.stderr)
        if FAN:
            without.append(fan(2, 0)[0])
            with_third.append(fan(3, 0)[0])
            rate, counted = fan(2, 1)
            with_stalled.append(rate)
            counts.append(counted)
            print(f"  fan: two {without[-1]:.0f}, a third that reads {with_third[-1]:.0f}, one that does not {rate:.0f}, {counted}", file=sys.stderr)
    median = {name: statistics.median(values) for name, values in rounds.items()}
    ratio = median["gated rtt"] / median["direct rtt"]
    print(f"round trip of 64 B: direct {median['direct rtt']:.0f} us, one gate {median['gated rtt']:.0f} us, {ratio:.2f} times")
    ratio = median["gate"] / median["zmq_proxy"]
    print(
        f"1 KiB messages: direct {median['direct']:.0f}/s, zmq_proxy {median['zmq_proxy']:.0f}/s,"
        f" gate {median['gate']:.0f}/s, {ratio:.2f} times zmq_proxy"
    )
    if FAN:
        plain, stalled = statistics.median(without), statistics.median(with_stalled)
        third = statistics.median(with_third)
        dropped, queued, memory = counts[-1]
        print(
            f"{FAN} messages of 1 KiB to 2 subscribers: {plain:.0f}/s, beside one that never reads"
            f" {stalled:.0f}/s, {stalled / plain:.2f} times; beside a third that reads {third:.0f}/s"
        )
        print(f"  of the last round: {dropped} dropped and counted, {queued:.1f} MiB queued, {memory:.0f} MiB at most in memory")


if __name__ == "__main__":
    main()
