"""Eight clients of a key-value store, which may be killed meanwhile: each line is what one asked and what came of it.
Arguments: endpoint, seed, seconds. A line: client, op, key, what it wrote, what it expected, outcome, what it saw,
revision, began and ended in nanoseconds (no end where nobody knows what came of it)."""

import json
import random
import sys
import threading
import time

import zmq

endpoint, seed, seconds = sys.argv[1], int(sys.argv[2]), float(sys.argv[3])
context = zmq.Context()
lines, lock = [], threading.Lock()
stop = time.monotonic() + seconds


def client(number):
    rng = random.Random(seed * 100 + number)
    socket = None
    last = {}

    def ask(verb, params, body, patience):
        """The reply, or nothing where nobody answered in time."""
        nonlocal socket
        end = time.monotonic() + patience
        while time.monotonic() < end:
            if socket is None:
                socket = context.socket(zmq.REQ)
                socket.linger = 0
                socket.connect(endpoint)
            try:
                socket.send_multipart([b"ZN1", verb, b"", json.dumps(params).encode()] + body, zmq.NOBLOCK)
                if socket.poll(250):
                    reply = socket.recv_multipart()
                    if reply[1] not in (b"503", b"429"):
                        return reply
                    time.sleep(0.01)
                    continue
            except zmq.Again:
                time.sleep(0.01)
            socket.close()
            socket = None
        return None

    count = 0
    while time.monotonic() < stop:
        count += 1
        key = f"k{rng.randrange(4)}"
        op = rng.choice(["get", "get", "set", "cas", "cas", "del"])
        value = f"{number}.{count}"
        line = {"client": number, "op": op, "key": key, "began": time.monotonic_ns()}
        # Some never ask again: nobody knows what came of it.
        is_patient = rng.random() < 0.8
        params, body = {"key": key}, []
        if op != "get" and is_patient:
            params["once"] = f"{seed}.{value}"
        patience = 20 if is_patient or op == "get" else 0.25
        if op == "set":
            body, line["wrote"] = [value.encode()], value
        elif op == "cas":
            expected, revision = last.get(key, (None, 0))
            params["revision"] = revision
            body, line["wrote"], line["expected"] = [value.encode()], value, expected
        reply = ask(op.encode(), params, body, patience)
        if reply is None:
            line["outcome"] = "unknown"
        else:
            status, result = int(reply[1]), json.loads(reply[3])
            line.update(outcome=status, revision=result.get("revision"), ended=time.monotonic_ns())
            if op == "get":
                line["saw"] = reply[4].decode() if status == 200 else None
                last[key] = (line["saw"], result.get("revision") or 0)
        with lock:
            lines.append(line)


threads = [threading.Thread(target=client, args=(number,)) for number in range(8)]
for thread in threads:
    thread.start()
for thread in threads:
    thread.join()
for line in lines:
    print(json.dumps(line))
