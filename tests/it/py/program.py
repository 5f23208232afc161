"""A program for links: `program.py LINK TYPE`, its socket as its environment has it.

What asks it is given back, a ZN1 ping as a replica would; what subscribes to it gets a message now and then.
"""

import os
import sys
import time

import zmq


def pong(frames):
    """The answer to what came, with all that is before a ZN1 request before it."""
    at = frames.index(b"ZN1") if b"ZN1" in frames else None
    if at is None or frames[at + 1 : at + 2] != [b"ping"]:
        return frames
    return [*frames[:at], b"ZN1", b"200", *frames[at + 2 : at + 3], b"{}"]


def main():
    link, kind = sys.argv[1:3]
    told = {name: os.environ[f"ZMQNET_{link.upper()}_{name}"] for name in ("ENDPOINT", "MODE")}
    program = zmq.Context().socket(getattr(zmq, kind))
    for endpoint in told["ENDPOINT"].split():
        program.bind(endpoint) if told["MODE"] == "bind" else program.connect(endpoint)
    if kind in ("PUSH", "DEALER", "REQ"):
        time.sleep(100_000)
    while kind in ("PUB", "XPUB"):
        program.send_multipart([b"news", b"%f" % time.time()])
        time.sleep(0.01)
    while True:
        frames = program.recv_multipart()
        if kind != "PULL":
            program.send_multipart(pong(frames))


main()
