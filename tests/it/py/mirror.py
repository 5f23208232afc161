"""A Clone mirror, as RFC 12 has it: follows a subtree until a key of the name `done` comes, and prints its map.
Arguments: main, updates, subtree."""

import json
import sys

import zmq

main, updates, subtree = sys.argv[1:4]
context = zmq.Context()
context.rcvtimeo = 60000
subscriber = context.socket(zmq.SUB)
subscriber.connect(updates)
subscriber.subscribe(subtree)
subscriber.subscribe("ZN1.ready.")
while not subscriber.recv_multipart()[0].startswith(b"ZN1.ready."):
    pass
snapshot = context.socket(zmq.DEALER)
snapshot.connect(main)
snapshot.send_multipart([b"ICANHAZ?", subtree.encode()])
mirrored, known, gaps = {}, 0, 0
while True:
    key, number, uuid, properties, value = snapshot.recv_multipart()
    number = int.from_bytes(number, "big")
    if key == b"KTHXBAI":
        assert value == subtree.encode(), value
        known = number
        break
    mirrored[key.decode()] = value.decode()
print("mirrored", flush=True)
while True:
    key, number, uuid, properties, value = subscriber.recv_multipart()
    if key == b"HUGZ":
        assert number == bytes(8)
        continue
    number = int.from_bytes(number, "big")
    if number <= known:
        continue
    gaps += number != known + 1
    known = number
    if value:
        mirrored[key.decode()] = value.decode()
    else:
        mirrored.pop(key.decode(), None)
    if key == subtree.encode() + b"done":
        break
print(json.dumps({"map": mirrored, "known": known, "gaps": gaps}), flush=True)
