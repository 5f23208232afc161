"""Shows what was measured, as it is replayed."""
import os
import time

import zmq

again = zmq.Context().socket(zmq.SUB)
again.connect(os.environ["ZMQNET_REPLAYED_ENDPOINT"])
again.subscribe(os.environ["ZMQNET_REPLAYED_TOPICS"])
shown = [again.recv_multipart()]
began = time.monotonic()
while shown[-1][1] != b"19":
    shown.append(again.recv_multipart())
took = time.monotonic() - began
in_order = [int(degrees) for _, degrees in shown] == list(range(20))
print("20 readings", "in order" if in_order else "in disorder", flush=True)
assert took < 0.95, took
while True:
    again.recv_multipart()
