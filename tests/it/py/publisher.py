"""A publisher that a test drives: one JSON list a line, one line back when it is done.

["wait"] until somebody subscribes; ["send", FRAME, ...] a message; ["sizes", N, ...] messages of so
many bytes."""
import json
import sys

import zmq

publisher = zmq.Context().socket(zmq.XPUB)
publisher.linger = 0
# One who comes again before the last one is known to be gone is told of too.
publisher.setsockopt(zmq.XPUB_VERBOSE, 1)
publisher.bind(sys.argv[1])
print("bound", flush=True)
for line in sys.stdin:
    verb, *args = json.loads(line)
    if verb == "wait":
        while True:
            if not publisher.poll(30_000):
                sys.exit("nobody subscribed")
            if publisher.recv()[:1] == b"\x01":
                break
    elif verb == "send":
        publisher.send_multipart([frame.encode() for frame in args])
    elif verb == "sizes":
        for size in args:
            publisher.send(b"x" * size)
    print("done", flush=True)
