#!/usr/bin/env python3
"""Throughput under CURVE, our hub beside libzmq with libsodium, in one run.

    cargo build --release --bench curve
    gcc -O2 benches/zc.c -o zc -lzmq
    ZC=./zc python3 benches/curve.py        # ROUNDS=5 SECONDS=2 are the defaults

One end pushes, the other pulls and says how many messages a second came. Each round runs every
pair of ends once, one after the other, so that a noisy neighbour meets them all; what is printed is
the median of the rounds, that of the ratios of each round to libzmq on both ends, and the processor
time that each end took for a message. `NULL` does the same without CURVE. Ours is started as a plan starts roles.
"""

import glob
import os
import re
import statistics
import subprocess
import sys

import roles

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
ZC = os.environ.get("ZC", "./zc")
ROUNDS = int(os.environ.get("ROUNDS", "5"))
SECONDS = float(os.environ.get("SECONDS", "2"))
IS_CURVE = "NULL" not in sys.argv[1:]
# The keys of nobody: the example of zmq_curve(7), and the one beside it.
KEYS = ["JTKVSB%%)wK0E.X)V>+}o?pNmC{O&4W4b!Ni{Lh6", "D:)Q[IlAW!ahhC2ac:9*A}h:p?([4%wOTJ%JR%cs"]
SIZES = [64, 1024, 65536]
PAIRS = [("libzmq", "libzmq"), ("libzmq", "zmqnet"), ("zmqnet", "libzmq"), ("zmqnet", "zmqnet")]


def ours():
    built = glob.glob(os.path.join(ROOT, "target/release/deps/curve-*"))
    built = [path for path in built if os.access(path, os.X_OK) and "." not in os.path.basename(path)]
    return os.environ.get("CURVE", max(built, key=os.path.getmtime) if built else "")


def run(pusher, puller, size, count, port):
    """Messages a second, and processor seconds of both ends."""
    program = {"libzmq": ZC, "zmqnet": ours()}
    started = {"libzmq": None, "zmqnet": roles.environment()}
    rest = [f"tcp://127.0.0.1:{port}", str(size), str(count), *(KEYS if IS_CURVE else ["-", "-"])]
    said = {"stdout": subprocess.PIPE, "text": True}
    pull = subprocess.Popen([program[puller], "pull", "bind", *rest], env=started[puller], **said)
    push = subprocess.Popen([program[pusher], "push", "connect", *rest], env=started[pusher], **said)
    said = [end.communicate(timeout=120)[0] for end in (pull, push)]
    rate, *cpu = [float(re.search(r"rate=(\S+)", said[0])[1])] + [
        float(re.search(r"cpu=(\S+)", text)[1]) for text in said
    ]
    return rate, cpu


def main():
    port = 21_000
    print(f"{'CURVE' if IS_CURVE else 'NULL'}: {ROUNDS} rounds of about {SECONDS} s")
    print("| size | pushes | pulls | messages/s | MB/s | ratio | us of processor: push, pull |")
    print("|---|---|---|---|---|---|---|")
    for size in SIZES:
        rate, _ = run("libzmq", "libzmq", size, 2_000, port)
        count = max(500, int(rate * SECONDS))
        rates, cpus = {pair: [] for pair in PAIRS}, {pair: [] for pair in PAIRS}
        for number in range(ROUNDS):
            # In turn, so that none is always the first.
            first = number % len(PAIRS)
            for pair in PAIRS[first:] + PAIRS[:first]:
                port += 1
                rate, cpu = run(*pair, size, count, port)
                rates[pair].append(rate)
                cpus[pair].append(cpu)
        for pair in PAIRS:
            rate = statistics.median(rates[pair])
            pull, push = (statistics.median(each) / count * 1e6 for each in zip(*cpus[pair]))
            low, high = min(rates[pair]), max(rates[pair])
            ratio = statistics.median(own / base for own, base in zip(rates[pair], rates[PAIRS[0]]))
            print(
                f"| {size} | {pair[0]} | {pair[1]} | {rate:,.0f} [{low:,.0f}..{high:,.0f}] "
                f"| {rate * size / 1e6:,.0f} | {ratio:.2f} | {push:.2f}, {pull:.2f} |",
                flush=True,
            )


main()
