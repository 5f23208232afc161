#!/usr/bin/env python3
"""What an idle subscriber costs a bus, in memory: `idle.py [N]`, needs pyzmq.

Brings up a bus, lets N SUB sockets (1,000) subscribe to a topic of their own each, waits until all of
them count, and divides what the bus's own memory (PSS) has grown by.
"""

import json
import os
import re
import subprocess
import sys
import tempfile

import zmq

from brokers import ZMQNET, consecutive_ports


def pss_kib(pid):
    with open(f"/proc/{pid}/smaps_rollup", encoding="ascii") as file:
        return int(re.search(r"^Pss: +(\d+)", file.read(), re.M).group(1))


def main():
    count = int(sys.argv[1]) if len(sys.argv) > 1 else 1_000
    port = consecutive_ports(3)
    with tempfile.TemporaryDirectory(prefix="idle-") as directory:
        manifest = os.path.join(directory, f"idle-{port}.yaml")
        with open(manifest, "w", encoding="utf-8") as file:
            file.write(f"zmqnet: 1\nname: idle-{port}\nnodes:\n  bus: {{kind: bus, port: {port}}}\n")
        subprocess.run([ZMQNET, "apply", manifest], check=True, capture_output=True)
        try:
            command = [ZMQNET, "status", "-f", manifest, "-o", "json"]
            status = json.loads(subprocess.run(command, check=True, capture_output=True).stdout)
            pid = status["nodes"][0]["pid"]
            context = zmq.Context(io_threads=1)
            context.max_sockets = count + 10
            before = pss_kib(pid)
            sockets = []
            for number in range(count):
                socket = context.socket(zmq.SUB)
                socket.linger, socket.rcvtimeo = 0, 20_000
                socket.connect(f"tcp://127.0.0.1:{port + 1}")
                for topic in (f"topic {number}", f"ZN1.ready.{number}"):
                    socket.subscribe(topic)
                sockets.append(socket)
            for socket in sockets:
                socket.recv()
            grown = pss_kib(pid) - before
            print(f"{count} idle subscribers: {grown} KiB, {grown / count:.2f} KiB each, after {before} KiB")
            context.destroy()
        finally:
            subprocess.run([ZMQNET, "down", "-f", manifest], check=True, capture_output=True)


if __name__ == "__main__":
    main()
