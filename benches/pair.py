#!/usr/bin/env python3
"""What a pair of gates costs, in clear text and under CURVE, beside going without, in one run.

    cargo build --release
    gcc -O2 benches/gate.c -o gate -lzmq
    GATE=./gate python3 benches/pair.py

ROUNDS=5, RTTS=2000 and MESSAGES=200000 (of 1 KiB) are the defaults. A network whose programs do nothing
is applied with a gate beside each of them, and the load goes where its programs would go.
"""

import os
import statistics
import subprocess
import sys
import tempfile

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
ZMQNET = os.environ.get("ZMQNET", os.path.join(ROOT, "target/release/zmqnet"))
GATE = os.path.abspath(os.environ.get("GATE", "./gate"))
ROUNDS = int(os.environ.get("ROUNDS", "5"))
RTTS = os.environ.get("RTTS", "2000")
MESSAGES = os.environ.get("MESSAGES", "200000")
FIRST_PORT = int(os.environ.get("FIRST_PORT", "29100"))

MANIFEST = """zmqnet: 1
name: pair
defaults: {{ports: {first}..{last}}}
nodes:
  asker: {{command: [sleep, '9999']}}
  echo: {{command: [sleep, '9999']}}
links:
  ask: {{pattern: request, from: asker, to: echo, gate: true, curve: {curve}}}
  work: {{pattern: pipeline, from: asker, to: echo, gate: true, curve: {curve}}}
"""


class Network:
    """A pair of gates, and where their programs would bind and connect."""

    def __init__(self, number, curve):
        self.directory = tempfile.mkdtemp()
        names = {"XDG_STATE_HOME": "state", "XDG_RUNTIME_DIR": "run", "HOME": "home"}
        self.env = {**os.environ, **{key: os.path.join(self.directory, at) for key, at in names.items()}}
        for key in names:
            os.mkdir(self.env[key])
        first = FIRST_PORT + number * 20
        with open(os.path.join(self.directory, "net.yaml"), "w", encoding="utf-8") as file:
            file.write(MANIFEST.format(first=first, last=first + 19, curve=curve))

    def zmqnet(self, *args):
        done = subprocess.run(
            [ZMQNET, *args], env=self.env, cwd=self.directory, check=True, text=True, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
        )
        return done.stdout

    def at(self, node, link):
        """Where the program of a node finds a link."""
        rows = self.zmqnet("env", node, "-f", "net.yaml").splitlines()
        row = next(row for row in rows if f"ZMQNET_{link}_ENDPOINT=" in row)
        return row.split("=", 1)[1].strip("'\"")

    def __enter__(self):
        self.zmqnet("apply", "net.yaml")
        return self

    def __exit__(self, *_):
        self.zmqnet("down", "-T", "pair")


def load(*args):
    done = subprocess.run([GATE, *args], stdout=subprocess.PIPE, text=True, timeout=100, start_new_session=True)
    return float(done.stdout.split()[0])


def rtt(bound, dialled):
    echo = subprocess.Popen([GATE, "rep", bound])
    took = load("rtt", dialled, RTTS, "64")
    echo.terminate()
    echo.wait()
    return took


def main():
    rounds = {}
    direct = [f"tcp://127.0.0.1:{FIRST_PORT + at}" for at in (0, 1)]
    for number in range(ROUNDS):
        took = {"direct": (rtt(direct[0], direct[0]), load("pipe", direct[1], direct[1], MESSAGES, "1024"))}
        for at, curve in enumerate(("never", "always")):
            with Network(1 + at, curve) as net:
                ask = rtt(net.at("echo", "ASK"), net.at("asker", "ASK"))
                work = load("pipe", net.at("asker", "WORK"), net.at("echo", "WORK"), MESSAGES, "1024")
                took[f"two gates, curve: {curve}"] = (ask, work)
        print(f"round {number + 1}: {took}", file=sys.stderr)
        for name, pair in took.items():
            rounds.setdefault(name, []).append(pair)
    base = [statistics.median(each) for each in zip(*rounds["direct"])]
    for name, pairs in rounds.items():
        ask, work = (statistics.median(each) for each in zip(*pairs))
        print(f"{name}: {ask:.0f} us a round trip ({ask / base[0]:.2f}), {work:.0f} messages/s ({work / base[1]:.2f})")


if __name__ == "__main__":
    main()
