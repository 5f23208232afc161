"""Says what it reads, and goes: whoever wants to know it may come later."""
import os

import zmq

context = zmq.Context()
readings = context.socket(zmq.XPUB)
readings.bind(os.environ["ZMQNET_SAID_ENDPOINT"])
# An XPUB hears who subscribes: from then on nothing is lost.
for _ in ("kitchen", "cellar"):
    assert readings.recv()[:1] == b"\x01"
for degrees in range(100):
    readings.send_multipart([b"kitchen", b"%d" % degrees])
    readings.send_multipart([b"cellar", b"damp"])
readings.close()
context.term()
