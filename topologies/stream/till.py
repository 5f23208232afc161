"""Appends what is sold; an append is answered once it is on the disk."""
import json
import os

import zmq

sales = zmq.Context().socket(zmq.REQ)
sales.connect(os.environ["ZMQNET_SOLD_ENDPOINT"])


def append(event):
    sales.send_multipart([b"ZN1", b"append", b"1", b"", event])
    _, status, _, result = sales.recv_multipart()
    assert status == b"200", result
    return json.loads(result)["offset"]


first = append(b"opened")
for apple in range(100):
    last = append(b"sold apple %d" % apple)
assert last == first + 100, (first, last)
append(b"sold out")
