#!/usr/bin/env python3
"""What legitimate clients notice of an attack: a replica's, beside those of libzmq's REP, in one run.

    cargo build --release
    gcc -O2 benches/zb.c -o zb -lzmq
    ZB=./zb python3 benches/attack.py           # needs pyzmq; ROUNDS=5 SECONDS=4 are the defaults
    ZB=./zb python3 benches/attack.py CURVE     # both are CURVE listeners; needs PyNaCl too

Each round puts every attack to both, one after the other, while a client that means well asks; its p99 is
measured from before the attack to its end. What is printed is the median of the rounds, and of the ratios
of each round. One process does the attack again and again until the time is over, and hangs up after
20 ms whether or not it was ended: both are attacked as hard, however soon they end a stranger, and no
process is started meanwhile, which costs whoever else runs milliseconds.
"""

import json
import os
import re
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
# The same where both are CURVE listeners and the client has a key.
UNDER_CURVE = [
    ("nothing", []),
    ("hellos", ["count=100"]),
    ("hellos", ["count=100", "is_good=false"]),
    ("half_open", ["count=1000", "wait=1"]),
    ("vanish", ["count=2000"]),
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
guise, own = sys.argv[4].split(), sys.argv[5:]
options = {key: json.loads(value) for key, value in (one.split("=") for one in own)}
if guise:
    attacks.speak("DEALER", *guise)
print("begins", flush=True)
while True:
    try:
        attacks.ATTACKS[sys.argv[2]](int(sys.argv[3]), **options)
    except OSError:
        time.sleep(0.02)
"""
ONLY = os.environ.get("ONLY", "").split()
IS_CURVE = "CURVE" in sys.argv[1:]


class Keys:
    """The certificates of a listener and of one whom it admits, where the run is under CURVE."""

    def __init__(self, scratch):
        self.dir, self.guise = os.path.join(scratch, "keys"), []
        if IS_CURVE:
            command = [ZMQNET, "keys", "new", "--keys", self.dir, "alpha", "asker"]
            subprocess.run(command, check=True, capture_output=True)
            self.guise = [os.path.join(self.dir, name) for name in ("alpha.key", "asker.key_secret")]

    def secret(self):
        with open(os.path.join(self.dir, "alpha.key_secret"), encoding="utf-8") as file:
            return re.search(r'secret-key = "(.{40})"', file.read())[1]


def client(port, keys):
    command = [sys.executable, os.path.join(SCRIPTS, "client.py"), f"tcp://127.0.0.1:{port}"]
    command += ["0.001", BOUNCE]
    if keys.guise:
        command += ["--server", keys.guise[0], "--own", keys.guise[1]]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
    process = subprocess.Popen(command, text=True, **pipes)
    assert process.stdout.readline() == "served\n"
    return process


def under(name, options, port, keys):
    """The p99 of a client while an attack goes on, in microseconds; nothing where it was not served."""
    served = client(port, keys)
    if name == "nothing":
        time.sleep(SECONDS)
    else:
        command = [sys.executable, "-c", AGAIN, SCRIPTS, name, str(port), " ".join(keys.guise), *options]
        pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.DEVNULL}
        with subprocess.Popen(command, **pipes) as attack:
            attack.stdout.readline()
            time.sleep(SECONDS)
            attack.kill()
    said, _ = served.communicate()
    return json.loads(said)["p99_us"] if served.returncode == 0 else None


def replica(scratch, keys):
    files, ports = told(scratch, 1, True)
    if keys.guise:
        with open(files[0], encoding="utf-8") as file:
            config = json.load(file)
        guarded = {"keys": keys.dir, "name": "alpha", "node": "alpha", "allow": [{"who": "asker"}]}
        config["replica"]["guarded"] = {**guarded, "admits_operator": False}
        with open(files[0], "w", encoding="utf-8") as file:
            json.dump(config, file)
    return Fleet([[ZMQNET, "__role", file] for file in files], ports), ports[0]


def libzmq(_, keys):
    [port] = free_ports(1)
    if keys.guise:
        os.environ["ZB_SECRET"] = keys.secret()
    return Fleet([[ZB, "rep", f"tcp://127.0.0.1:{port}", "bind"]], [port]), port


def main():
    attacks = [one for one in (UNDER_CURVE if IS_CURVE else ATTACKS) if not ONLY or one[0] in ONLY]
    rounds = []
    with tempfile.TemporaryDirectory(prefix="zb") as scratch:
        keys = Keys(scratch)
        for number in range(ROUNDS):
            row = []
            for name, options in attacks:
                for start in (libzmq, replica):
                    fleet, port = start(scratch, keys)
                    with fleet:
                        row.append(under(name, options, port, keys))
            rounds.append(row)
            print(f"round {number + 1} of {ROUNDS}", file=sys.stderr)
    print("| attack | libzmq's REP, p99 us | replica, p99 us | ratio [min..max] |")
    print("|---|---|---|---|")
    for index, (name, options) in enumerate(attacks):
        theirs = [row[2 * index] for row in rounds]
        ours = [row[2 * index + 1] for row in rounds]
        served = [time for time in theirs if time]
        ratios = [our / their for our, their in zip(ours, theirs) if our and their]
        left = f"{statistics.median(served):,.0f}" if len(served) == len(theirs) else "not served"
        right = f"{statistics.median(ours):,.0f}" if all(ours) else "not served"
        spread = "-"
        if ratios:
            spread = f"{statistics.median(ratios):.2f} [{min(ratios):.2f}..{max(ratios):.2f}]"
        if name == "hellos":
            name += ", wrong" if "is_good=false" in options else ""
        print(f"| {name} | {left} | {right} | {spread} |")


if __name__ == "__main__":
    main()
