"""PyDistributed's README: four clients, each sets and gets a thousand keys, all equal. Argument: endpoint."""

import json
import multiprocessing
import sys
import time

import zmq


def client(endpoint, number):
    socket = zmq.Context().socket(zmq.REQ)
    socket.rcvtimeo = 60000
    socket.connect(endpoint)

    def ask(verb, key, *body):
        socket.send_multipart([b"ZN1", verb, b"", json.dumps({"key": key}).encode(), *body])
        reply = socket.recv_multipart()
        assert reply[1] == b"200", reply
        return reply

    for count in range(1000):
        key, value = f"{number}-{count}", f"value {count} of {number}".encode()
        ask(b"set", key, value)
        assert ask(b"get", key)[4] == value


if __name__ == "__main__":
    clients = [multiprocessing.Process(target=client, args=(sys.argv[1], number)) for number in range(4)]
    began = time.monotonic()
    for one in clients:
        one.start()
    for one in clients:
        one.join()
    print("equal" if all(one.exitcode == 0 for one in clients) else "not equal", round(time.monotonic() - began, 2))
