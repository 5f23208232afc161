"""The same words to a CURVE listener of libzmq's and to one of ours: `sealed.py SEED COUNT OWN PORT SERVER`.

OWN and SERVER are certificates: of a client that is admitted, and of our listener on PORT, which answers ZN1
pings as a ROUTER. libzmq's has a key of its own and asks an authenticator, which admits the same client. COUNT
streams are changed at random. Prints, as JSON, how many were compared and what differs.
"""

import json
import socket
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import zmq
import zmq.auth.thread
from nacl.public import Box, PrivateKey, PublicKey
from zmq.utils import z85

import boxes
from curve import WELCOME_BYTES, load, split
from streams import PEERS, token

AT_ONCE = 24
QUIET = 0.5
GREETING = 64


class Router(threading.Thread):
    """A ROUTER of libzmq's that gives back what it was asked, under CURVE."""

    def __init__(self, context, admitted):
        super().__init__(daemon=True)
        self.socket = context.socket(zmq.ROUTER)
        self.socket.linger = 0
        public, secret = zmq.curve_keypair()
        self.public = z85.decode(public)
        self.socket.curve_secretkey, self.socket.curve_publickey = secret, public
        self.socket.curve_server = True
        self.socket.maxmsgsize = 64 << 20
        authenticator = zmq.auth.thread.ThreadAuthenticator(context)
        authenticator.start()
        authenticator.configure_curve_callback("*", Admits(admitted))
        self.port = self.socket.bind_to_random_port("tcp://127.0.0.1")

    def run(self):
        while True:
            self.socket.send_multipart(self.socket.recv_multipart())


class Admits:
    """Who is admitted, as an authenticator asks."""

    def __init__(self, key):
        self.key = z85.encode(key)

    def callback(self, domain, key):
        return key == self.key


class Conversation:
    """One stream with one listener."""

    def __init__(self, port, keys, patience):
        self.keys, self.patience = keys, patience
        self.socket = socket.create_connection(("127.0.0.1", port))
        self.got, self.is_closed, self.seal = b"", False, None

    def send(self, data):
        try:
            self.socket.settimeout(5)
            self.socket.sendall(data)
        except OSError:
            pass

    def read(self, is_enough):
        """Reads until it is enough, it ends, or nothing comes for a while."""
        until = time.monotonic() + self.patience
        while not self.is_closed and not is_enough() and time.monotonic() < until:
            self.socket.settimeout(max(0.01, until - time.monotonic()))
            try:
                data = self.socket.recv(65536)
            except TimeoutError:
                break
            except OSError:
                data = b""
            self.is_closed = not data
            self.got += self.seal.open(data) if self.seal and data else data
        return is_enough()

    def say(self, client, kind, mark):
        """Says it all, as far as the listener follows; what became of it."""
        peer, (server, _, _) = PEERS[kind], self.keys
        short = PrivateKey.generate()
        self.send(client.greeting)
        self.read(lambda: len(self.got) >= GREETING)
        body = boxes.hello_body(PublicKey(server), short, **client.about_hello)
        self.send(client.hello(body))
        welcome = lambda: split(self.got[GREETING:])
        if not self.read(welcome) or welcome()[1][:8] != b"\x07WELCOME":
            return self.end(False)
        said = welcome()[1]
        opened = Box(short, PublicKey(server)).decrypt(said[24:], b"WELCOME-" + said[8:24])
        found = short, PublicKey(opened[:32]), opened[32:]
        told = boxes.told_by(client, peer)
        self.send(client.initiate(boxes.initiate_body(self.keys, found, told, **client.about_initiate)))
        rest = self.got[GREETING + 2 + WELCOME_BYTES :]
        self.got = b""
        self.seal = boxes.Boxes(Box(short, found[1]), b"")
        # The number of INITIATE is what the following ones are greater than.
        self.seal.sent = max(2, client.about_initiate.get("number", 2) % ((1 << 64) - 1))
        self.got = self.seal.open(rest)
        if not self.read(lambda: split(self.got)) or split(self.got)[1][:6] != b"\x05READY":
            return self.end(False)
        self.got = b""
        self.send(client.late(self.seal))
        self.send(boxes.request(kind, mark, self.seal))
        self.read(lambda: mark in self.got)
        return self.end(mark in self.got)

    def end(self, is_answered):
        """Waits whether it is ended."""
        if not is_answered:
            self.read(lambda: False)
        self.socket.close()
        if is_answered:
            return "delivers"
        return "closes" if self.is_closed else "waits"


def compared(kind, ends, numbered, patience):
    """What became of each stream at both ends."""

    def one(at):
        (number, client), (port, keys) = at
        return Conversation(port, keys, patience).say(client, kind, token(number))

    jobs = [(stream, end) for stream in numbered for end in ends]
    with ThreadPoolExecutor(AT_ONCE) as pool:
        became = list(pool.map(one, jobs))
    return list(zip(numbered, became[::2], became[1::2]))


def main():
    seed, count, own, port, file = sys.argv[1:]
    own, kind = load(own), "ROUTER"
    router = Router(zmq.Context(), own["public"])
    router.start()
    pair = own["public"], own["secret"]
    ends = [(int(port), (load(file)["public"], *pair)), (router.port, (router.public, *pair))]
    stranger = PrivateKey(b"u" * 32)
    streams = list(enumerate(boxes.all_of(PEERS[kind], stranger, int(seed), int(count))))
    first = [one for one in compared(kind, ends, streams, QUIET) if one[1] != one[2]]
    # Once more with patience: a busy machine is no difference.
    again = compared(kind, ends, [one[0] for one in first], QUIET * 4)
    report = [
        {"unusual": client.what, "kind": kind, "ours": our, "libzmq": their, "bytes": number}
        for (number, client), our, their in again
        if our != their
    ]
    print(json.dumps({"compared": len(streams), "differences": report}), flush=True)


main()
