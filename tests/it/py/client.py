"""A legitimate client: asks, one request at a time, until its standard input ends.

It also comes anew now and then, since an attack may keep out newcomers alone. Prints its round trips as
JSON; one that fails, or waits longer than `PATIENCE` seconds, ends it with code 1. With a third argument
it asks that frame, in hex, and takes any answer: a REP of libzmq's knows no ping. As `SUB` it asks nothing
and waits for what is published; as `PUB` it publishes and waits until that comes out at the port `--back`.
With certificates it speaks CURVE.
"""

import argparse
import json
import sys
import threading
import time

import zmq
import zmq.auth

PATIENCE = 20
ANEW = 25


TYPES = {"SUB": zmq.SUB, "PUB": zmq.XPUB, "DEALER": zmq.REQ}


class Published:
    """A publisher, and a subscriber to what it alone publishes."""

    def __init__(self, context, args):
        self.out = opened(context, args, "PUB", args.endpoint)
        if self.out.recv() != b"\x01":
            sys.exit("it is not asked for everything")
        host = args.endpoint.rpartition(":")[0]
        self.back = opened(context, args, "SUB", f"{host}:{args.back}")
        for topic in (b"mine", b"ZN1.ready.me"):
            self.back.subscribe(topic)
        self.back.recv_multipart()

    def exchange(self, number):
        self.out.send_multipart([b"mine", b"%d" % number])
        if self.back.recv_multipart() != [b"mine", b"%d" % number]:
            sys.exit(f"message {number} came as another")

    def close(self):
        self.out.close()
        self.back.close()


def connected(context, args):
    if args.kind == "PUB":
        return Published(context, args)
    client = opened(context, args, args.kind, args.endpoint)
    if args.kind == "SUB":
        client.subscribe(b"")
    return client


def opened(context, args, kind, endpoint):
    client = context.socket(TYPES[kind])
    client.linger = 0
    client.rcvtimeo = client.sndtimeo = PATIENCE * 1000
    if args.own:
        client.curve_publickey, client.curve_secretkey = zmq.auth.load_certificate(args.own)
        client.curve_serverkey, _ = zmq.auth.load_certificate(args.server)
    client.connect(endpoint)
    return client


def exchange(client, args, number):
    """One message there and back, or one that is published."""
    if args.kind == "SUB":
        client.recv_multipart()
        return
    if args.kind == "PUB":
        client.exchange(number)
        return
    frame = bytes.fromhex(args.frame) if args.frame else None
    request = [frame] if frame else [b"ZN1", b"ping", b"%d" % number]
    client.send_multipart(request)
    reply = client.recv_multipart()
    if not frame and reply[:3] != [b"ZN1", b"200", request[2]]:
        sys.exit(f"request {number} was answered with {reply}")


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("endpoint")
    parser.add_argument("pause", type=float, nargs="?", default=0.002)
    parser.add_argument("frame", nargs="?")
    parser.add_argument("--kind", choices=sorted(TYPES), default="DEALER")
    parser.add_argument("--back", type=int)
    parser.add_argument("--server")
    parser.add_argument("--own")
    args = parser.parse_args()
    over = threading.Event()
    threading.Thread(target=lambda: (sys.stdin.read(), over.set()), daemon=True).start()
    context = zmq.Context()
    client = connected(context, args)
    took = []
    number = 0
    while not over.is_set():
        number += 1
        start = time.perf_counter()
        try:
            exchange(client, args, number)
        except zmq.Again:
            sys.exit(f"request {number} was not answered within {PATIENCE} s")
        took.append(time.perf_counter() - start)
        if number == 1:
            print("served", flush=True)
        if number % ANEW == 0:
            client.close()
            client = connected(context, args)
        time.sleep(args.pause)
    took.sort()
    at = lambda share: took[min(len(took) - 1, int(len(took) * share))] * 1e6
    report = {"count": len(took), "p50_us": at(0.5), "p99_us": at(0.99), "max_us": took[-1] * 1e6}
    print(json.dumps(report), flush=True)


main()
