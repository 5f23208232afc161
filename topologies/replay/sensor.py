"""Measures, and is done before anybody looks."""
import os
import time

import zmq

context = zmq.Context()
live = context.socket(zmq.XPUB)
live.connect(os.environ["ZMQNET_SAID_ENDPOINT"])
# The bus asks for everything; what it has the stream records, once that has subscribed too.
assert live.recv() == b"\x01"
for degrees in range(20):
    live.send_multipart([b"kitchen", b"%d" % degrees])
    time.sleep(0.05)
live.close()
context.term()
