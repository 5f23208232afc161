"""Takes what waits, one message after the other: each is popped once it was used."""
import json
import os

import zmq

spool = zmq.Context().socket(zmq.REQ)
spool.connect(os.environ["ZMQNET_KEPT_ENDPOINT"])


def ask(verb, **params):
    spool.send_multipart([b"ZN1", verb, b"1", json.dumps(params).encode()])
    _, status, _, told, *frames = spool.recv_multipart()
    return status, json.loads(told), frames


total, read = 0, 0
while True:
    status, told, frames = ask(b"front", wait_ms=10_000)
    if status != b"200":
        continue
    total, read = total + int(frames[1]), read + 1
    ask(b"pop", offset=told["offset"])
    if read == 100:
        print("100 readings, sum", total, flush=True)
