#!/usr/bin/env python3
"""Where the processor time of a bus goes: our bus's and libzmq's proxy's own, and their clients'.

    benches/versus/cpu.py        # after `brokers.py install`

For each row one run of each, the same libzmq clients: microseconds of processor time a published message
that the broker took itself, in all and a subscriber, and that the clients took. SUBSCRIBERS=1,4,16,64 shows how
the cost grows with them.
"""

import os
import resource
import time

from brokers import SIZES, SUBSCRIBERS, Libzmq, Zmqnet


def ticks(pid):
    with open(f"/proc/{pid}/stat", encoding="ascii") as file:
        fields = file.read().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def broker_pid(broker):
    if broker.processes:
        return broker.processes[0].pid
    for pid in filter(str.isdigit, os.listdir("/proc")):
        try:
            with open(f"/proc/{pid}/environ", "rb") as file:
                text = file.read()
            with open(f"/proc/{pid}/cmdline", "rb") as file:
                command = file.read()
        except OSError:
            continue
        if f"versus-{broker.ports[0]}".encode() in text + command and b"bus" in command:
            return int(pid)
    raise SystemExit("the bus's process is not found")


def main():
    messages = int(os.environ.get("MESSAGES", "400000"))
    print("| | broker us | a delivery | clients us | seconds |\n|---|---|---|---|---|")
    for contestant in (Zmqnet, Libzmq):
        broker = contestant("bus")
        try:
            pid = broker_pid(broker)
            for size in SIZES:
                for subscribers in SUBSCRIBERS:
                    own, start = ticks(pid), time.monotonic()
                    before = resource.getrusage(resource.RUSAGE_CHILDREN)
                    broker.bus(subscribers, size)
                    after = resource.getrusage(resource.RUSAGE_CHILDREN)
                    took = time.monotonic() - start
                    used = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
                    each = [1e6 * seconds / messages for seconds in (ticks(pid) - own, used)]
                    name = f"{contestant.name} 1:{subscribers} {size} B"
                    own = f"{each[0]:.2f} | {each[0] / subscribers:.2f}"
                    print(f"| {name} | {own} | {each[1]:.2f} | {took:.1f} |", flush=True)
        finally:
            broker.end()


if __name__ == "__main__":
    main()
