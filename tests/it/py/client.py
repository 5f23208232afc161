"""A legitimate client: asks, one request at a time, until its standard input ends.

It also comes anew now and then, since an attack may keep out newcomers alone. Prints its round trips as
JSON; one that fails, or waits longer than `PATIENCE` seconds, ends it with code 1. With a third argument
it asks that frame, in hex, and takes any answer: a REP of libzmq's knows no ping.
"""

import json
import sys
import threading
import time

import zmq

PATIENCE = 20
ANEW = 25


def connected(context, endpoint):
    client = context.socket(zmq.REQ)
    client.linger = 0
    client.rcvtimeo = client.sndtimeo = PATIENCE * 1000
    client.connect(endpoint)
    return client


def main():
    endpoint = sys.argv[1]
    pause = float(sys.argv[2]) if len(sys.argv) > 2 else 0.002
    frame = bytes.fromhex(sys.argv[3]) if len(sys.argv) > 3 else None
    over = threading.Event()
    threading.Thread(target=lambda: (sys.stdin.read(), over.set()), daemon=True).start()
    context = zmq.Context()
    client = connected(context, endpoint)
    took = []
    number = 0
    while not over.is_set():
        number += 1
        start = time.perf_counter()
        request = [frame] if frame else [b"ZN1", b"ping", b"%d" % number]
        try:
            client.send_multipart(request)
            reply = client.recv_multipart()
        except zmq.Again:
            sys.exit(f"request {number} was not answered within {PATIENCE} s")
        took.append(time.perf_counter() - start)
        if not frame and reply[:3] != [b"ZN1", b"200", request[2]]:
            sys.exit(f"request {number} was answered with {reply}")
        if number == 1:
            print("served", flush=True)
        if number % ANEW == 0:
            client.close()
            client = connected(context, endpoint)
        time.sleep(pause)
    took.sort()
    at = lambda share: took[min(len(took) - 1, int(len(took) * share))] * 1e6
    report = {"count": len(took), "p50_us": at(0.5), "p99_us": at(0.99), "max_us": took[-1] * 1e6}
    print(json.dumps(report), flush=True)


main()
