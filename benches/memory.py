#!/usr/bin/env python3
"""What an attack leaves in the memory of a replica, and what a second one like it adds.

    cargo build --release
    python3 benches/memory.py [ATTACK...]           # all of them where none is named

Each attack meets a replica of its own, `TIMES` times (3). Before each look all connections are gone and a
second has passed. Anonymous memory alone is counted: pages of the program itself come in as its code is
first used, and go when the kernel wants them. What is served meanwhile is a client's pings, as in the tests.
"""

import json
import os
import subprocess
import sys
import tempfile
import time

from mesh import ROOT, ZMQNET, free_ports

import roles

SCRIPTS = os.path.join(ROOT, "tests/it/py")
TIMES = int(os.environ.get("TIMES", "3"))
SETTLE = float(os.environ.get("SETTLE", "1"))
ATTACKS = {
    "nothing": None,
    "declared": [],
    "cve_2019_6250": [],
    "cve_2019_13132": [],
    "cve_2020_15166": [],
    "cve_2021_20236": [],
    "cve_2021_20237": [],
    "parts": [],
    "junk": ["megabytes=100"],
    "http": [],
    "tls": [],
    "slow": ["every=0.5"],
    "half_open": ["count=1000"],
    "vanish": ["count=10000"],
    "shaken_many": ["count=1000"],
    "pings": [],
    "ping_shapes": [],
    "topics": [],
    "subscriptions": [],
    "metadata": [],
    "errors": [],
    "commands": [],
    "early": [],
    "types": [],
    "greetings": [],
    "flood": ["megabytes=50"],
    "dribble": [],
    "unfinished": ["count=100"],
}


def anonymous(pid):
    """KiB of its own."""
    with open(f"/proc/{pid}/smaps_rollup", encoding="utf-8") as file:
        return sum(int(line.split()[1]) for line in file if line.startswith(("Anonymous:", "Swap:")))


def settled(pid):
    """The memory once nobody is connected but the client."""
    time.sleep(SETTLE)
    return anonymous(pid)


def one(name, options, scratch):
    """What is there before, and after each time; and the most while the attack went on."""
    [port] = free_ports(1)
    config = {"name": "alpha", "listen": [f"tcp://127.0.0.1:{port}"], "peers": [], "broadcast_ms": 1000}
    config |= {"health": f"ipc://{scratch}/{port}.sock", "limits": {"handshake_ms": 2000, "pending_max": 200}}
    told = os.path.join(scratch, f"{port}.json")
    with open(told, "w", encoding="utf-8") as out:
        json.dump({"replica": config}, out)
    quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    role = subprocess.Popen([ZMQNET, "__role", told], env=roles.environment(ZMQNET_LOG="error"), **quiet)
    time.sleep(0.5)
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
    served = subprocess.Popen([sys.executable, f"{SCRIPTS}/client.py", f"tcp://127.0.0.1:{port}"], text=True, **pipes)
    assert served.stdout.readline() == "served\n"
    found = [settled(role.pid)]
    for _ in range(TIMES):
        if options is not None:
            subprocess.run([sys.executable, f"{SCRIPTS}/attacks.py", name, str(port), *options], check=True, **quiet)
        found.append(settled(role.pid))
    served.communicate()
    assert served.returncode == 0, f"the client was not served under {name}"
    with open(f"/proc/{role.pid}/status", encoding="utf-8") as file:
        peak = next(int(line.split()[1]) for line in file if line.startswith("VmHWM"))
    role.terminate()
    role.wait()
    return found, peak


def main():
    wanted = sys.argv[1:] or list(ATTACKS)
    print("| attack | before, KiB | first leaves | " + " | ".join(f"{n + 2}. adds" for n in range(TIMES - 1)) + " | most resident |")
    print("|---" * (TIMES + 3) + "|")
    with tempfile.TemporaryDirectory(prefix="zm") as scratch:
        for name in wanted:
            found, peak = one(name, ATTACKS[name], scratch)
            grown = [after - before for before, after in zip(found, found[1:])]
            print(f"| {name} | {found[0]:,} | " + " | ".join(f"{each:+,}" for each in grown) + f" | {peak:,} |", flush=True)


if __name__ == "__main__":
    main()
