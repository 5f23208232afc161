#!/usr/bin/env python3
"""What legitimate clients notice of an attack: a replica's, beside those of libzmq's REP, in one run.

    cargo build --release
    gcc -O2 benches/zb.c -o zb -lzmq
    ZB=./zb python3 benches/attack.py           # needs pyzmq; ROUNDS=5 SECONDS=4 are the defaults

Each round puts every attack to both, one after the other, while a client that means well asks; its p99 is
measured from before the attack to its end. What is printed is the median of the rounds, and of the ratios
of each round. One process does the attack again and again until the time is over, and hangs up after
20 ms whether or not it was ended: both are attacked as hard, however soon they end a stranger, and no
process is started meanwhile, which costs whoever else runs milliseconds.
"""

import json
import os
import statistics
import subprocess
import sys
import tempfile
import time

from mesh import Fleet, ROOT, ZB, free_ports, told, ZMQNET

ROUNDS = int(os.environ.get("ROUNDS", "5"))
SECONDS = float(os.environ.get("SECONDS", "4"))
SCRIPTS = os.path.join(ROOT, "tests/it/py")
ATTACKS = [
    ("nothing", []),
    ("declared", []),
    ("junk", ["megabytes=20"]),
    ("http", []),
    ("parts", ["count=200000"]),
    ("half_open", ["count=1000", "wait=1"]),
    ("vanish", ["count=2000"]),
    ("pings", ["count=100000"]),
    ("metadata", []),
    ("early", []),
]
# A bounce of ZMQ Net's, which a replica acknowledges and a REP gives back.
BOUNCE = "08011205616c7068611a026869"
AGAIN = """
import json, sys, time
sys.path.insert(0, sys.argv[1])
import attacks
def tally(raws, wait=0):
    time.sleep(0.02)
    for raw in raws:
        raw.close()
attacks.tally = tally
options = {key: json.loads(value) for key, value in (one.split("=") for one in sys.argv[4:])}
print("begins", flush=True)
while True:
    try:
        attacks.ATTACKS[sys.argv[2]](int(sys.argv[3]), **options)
    except OSError:
        time.sleep(0.02)
"""
ONLY = os.environ.get("ONLY", "").split()


def client(port):
    command = [sys.executable, os.path.join(SCRIPTS, "client.py"), f"tcp://127.0.0.1:{port}"]
    command += ["0.001", BOUNCE]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
    process = subprocess.Popen(command, text=True, **pipes)
    assert process.stdout.readline() == "served\n"
    return process


def under(name, options, port):
    """The p99 of a client while an attack goes on, in microseconds; nothing where it was not served."""
    served = client(port)
    if name == "nothing":
        time.sleep(SECONDS)
    else:
        command = [sys.executable, "-c", AGAIN, SCRIPTS, name, str(port), *options]
        pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.DEVNULL}
        with subprocess.Popen(command, **pipes) as attack:
            attack.stdout.readline()
            time.sleep(SECONDS)
            attack.kill()
    said, _ = served.communicate()
    return json.loads(said)["p99_us"] if served.returncode == 0 else None


def replica(scratch):
    files, ports = told(scratch, 1, True)
    return Fleet([[ZMQNET, "__role", file] for file in files], ports), ports[0]


def libzmq(_):
    [port] = free_ports(1)
    return Fleet([[ZB, "rep", f"tcp://127.0.0.1:{port}", "bind"]], [port]), port


def main():
    attacks = [one for one in ATTACKS if not ONLY or one[0] in ONLY]
    rounds = []
    with tempfile.TemporaryDirectory(prefix="zb") as scratch:
        for number in range(ROUNDS):
            row = []
            for name, options in attacks:
                for start in (libzmq, replica):
                    fleet, port = start(scratch)
                    with fleet:
                        row.append(under(name, options, port))
            rounds.append(row)
            print(f"round {number + 1} of {ROUNDS}", file=sys.stderr)
    print("| attack | libzmq's REP, p99 us | replica, p99 us | ratio [min..max] |")
    print("|---|---|---|---|")
    for index, (name, _) in enumerate(attacks):
        theirs = [row[2 * index] for row in rounds]
        ours = [row[2 * index + 1] for row in rounds]
        served = [time for time in theirs if time]
        ratios = [our / their for our, their in zip(ours, theirs) if our and their]
        left = f"{statistics.median(served):,.0f}" if len(served) == len(theirs) else "not served"
        right = f"{statistics.median(ours):,.0f}" if all(ours) else "not served"
        spread = "-"
        if ratios:
            spread = f"{statistics.median(ratios):.2f} [{min(ratios):.2f}..{max(ratios):.2f}]"
        print(f"| {name} | {left} | {right} | {spread} |")


if __name__ == "__main__":
    main()
