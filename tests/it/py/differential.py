"""The same bytes to libzmq and to a listener of ours: each must close, take what is asked for at the end, or
wait, alike.

`differential.py SEED COUNT KIND=PORT[:INNER]...`: ours listens on PORT, as a gate before the program whose
endpoint is INNER, which is a socket of libzmq's here, or as a replica; BUS-IN and BUS-OUT are the ports of a bus,
with a socket of libzmq's at the other one, INNER. COUNT streams are changed at random.
Prints, as JSON, how many streams were compared and each difference: what is unusual about the bytes, at which
type, what we did, what libzmq did, and one stream in hex.
"""

import json
import re
import selectors
import socket
import struct
import sys
import time
from concurrent.futures import ThreadPoolExecutor

import zmq

from oddities import unusual
from streams import LIMIT, PUBLISHING, all_of, token
from zmtp import COMMAND, LONG, command

AT_ONCE = 120
QUIET = 0.4
HEARTBEAT = command(b"PING", b"\0\0")
TOKEN = re.compile(rb"t[0-9]{5}")
# What the ports of a bus are to who dials them.
BUS = {"BUS-IN": "SUB", "BUS-OUT": "PUB"}


class Program:
    """A socket of libzmq's, and what it was given, by the token in it."""

    def __init__(self, context, kind, endpoint=None):
        self.kind = kind
        self.socket = context.socket(getattr(zmq, kind))
        self.socket.linger = 0
        self.socket.maxmsgsize = LIMIT
        self.socket.set_hwm(0)
        if kind == "SUB":
            self.socket.subscribe(b"t")
        if kind == "XSUB":
            self.socket.send(b"\x01t")
        if kind == "XPUB":
            self.socket.xpub_verboser = True
        at = endpoint or "tcp://127.0.0.1:*"
        self.socket.bind(at)
        self.port = int(self.socket.last_endpoint.rsplit(b":")[-1])
        self.given = {}

    @classmethod
    def beyond(cls, context, kind, endpoint):
        """Who stands at the other port of a bus: it is given what the bus was, or publishes there."""
        self = cls.__new__(cls)
        self.kind, self.given = kind, {}
        self.socket = context.socket(zmq.SUB if kind == "SUB" else zmq.XPUB)
        self.socket.linger = 0
        self.socket.set_hwm(0)
        if kind == "SUB":
            for topic in (b"t", b"ZN1.ready.me"):
                self.socket.subscribe(topic)
        self.socket.connect(endpoint)
        self.socket.recv_multipart()
        return self

    def pump(self):
        """Takes what came, and gives back what has to be."""
        while self.kind != "PUB":
            # libzmq's REP can be readable, and yet have nothing once it looked at what is no request.
            try:
                frames = self.socket.recv_multipart(zmq.NOBLOCK)
            except zmq.Again:
                return
            for found in set(TOKEN.findall(b"\0".join(frames))):
                self.given.setdefault(found, []).append(frames)
            if self.kind in ("REP", "ROUTER"):
                self.socket.send_multipart(frames)

    def publish(self, numbers):
        for number in numbers:
            for which in (b"1", b"2"):
                self.socket.send(token(number) + which)
        self.socket.send(b"all")


class Ends:
    """Where the same bytes go: the port, and the program behind it, if it is libzmq's."""

    def __init__(self, port, program=None):
        self.port = port
        self.program = program


class Sent:
    """A connection: what came back, and whether it was ended."""

    def __init__(self, ends, number, stream):
        self.ends, self.number, self.later = ends, number, stream[1]
        self.got, self.is_closed = b"", False
        self.socket = socket.create_connection(("127.0.0.1", ends.port))
        self.send(stream[0])

    def send(self, data):
        """What the other side does not take, since it ended the connection, it does not need."""
        self.socket.settimeout(5)
        try:
            self.socket.sendall(data)
        except OSError:
            pass
        self.socket.setblocking(False)

    def read(self):
        """Takes what came; whether that was more than a heartbeat."""
        try:
            data = self.socket.recv(65536)
        except ConnectionError:
            data = b""
        self.got += data
        self.is_closed = not data
        return data != HEARTBEAT

    def messages(self):
        """The first frames of the messages that came back."""
        at = 64
        while at + 2 <= len(self.got):
            flags, size, start = self.got[at], self.got[at + 1], at + 2
            if flags & LONG:
                if at + 9 > len(self.got):
                    return
                size, start = struct.unpack(">Q", self.got[at + 1 : at + 9])[0], at + 9
            if not flags & COMMAND:
                yield self.got[start : start + size]
            at = start + size

    def given(self):
        """What the program was given of it."""
        return self.ends.program.given.get(token(self.number), []) if self.ends.program else []

    def outcome(self, kind):
        if kind in PUBLISHING:
            own = token(self.number)
            came = {found[len(own) :] if found.startswith(own) else found for found in self.messages()}
            came &= {b"1", b"2", b"all"}
            done = {
                frozenset(): None,
                frozenset([b"1"]): "delivers",
                frozenset([b"2"]): "delivers the other",
                frozenset([b"1", b"2"]): "delivers both",
            }.get(frozenset(came), "delivers all")
        elif kind == "ROUTER":
            done = "delivers" if any(self.messages()) else None
        else:
            done = "delivers" if self.given() else None
        if done:
            return f"{done}, closes" if self.is_closed else done
        return "closes" if self.is_closed else "waits"


def outcomes(kind, ends, streams, patience):
    """What became of each stream at both ends, many at a time."""
    for start in range(0, len(streams), AT_ONCE):
        some = streams[start : start + AT_ONCE]
        for one, (ours, theirs) in zip(some, compared(kind, ends, some, patience)):
            yield one, ours, theirs


def compared(kind, ends, some, patience):
    """What became of each stream at both ends, once nothing moved for a while."""
    selector = selectors.DefaultSelector()
    for end in ends:
        if end.program:
            end.program.given.clear()
    sent = [[Sent(end, number, stream) for end in ends] for number, stream in some]
    each = [one for pair in sent for one in pair]
    for one in each:
        selector.register(one.socket, selectors.EVENT_READ, one)
    programs = [end.program for end in ends if end.program]
    listen(selector, programs, patience)
    for one in each:
        one.send(one.later)
    listen(selector, programs, patience)
    if kind in PUBLISHING:
        for program in programs:
            program.publish([number for number, _ in some])
        listen(selector, programs, patience)
    for one in each:
        one.socket.close()
    listen(selector, programs, 0)
    selector.close()
    for ours, theirs in sent:
        became = ours.outcome(kind), theirs.outcome(kind)
        if became[0] == became[1] and kind != "ROUTER" and ours.given() != theirs.given():
            became = "tells the program this", "tells the program that"
        yield became


def listen(selector, programs, patience):
    """Reads all until nothing moved for a while."""
    quiet = time.monotonic() + patience
    while True:
        for program in programs:
            program.pump()
        if time.monotonic() >= quiet:
            return
        for key, _ in selector.select(0.05):
            if key.data.read():
                quiet = time.monotonic() + patience
            if key.data.is_closed:
                selector.unregister(key.data.socket)


def differences(context, kind, at, seed, count):
    """Each difference of a listener, and how many streams there were."""
    port, _, inner = at.partition(":")
    endpoint = f"tcp://127.0.0.1:{inner}"
    if kind in BUS:
        kind = BUS[kind]
        program = Program.beyond(context, kind, endpoint)
    else:
        program = Program(context, kind, endpoint) if inner else None
    theirs = Program(context, kind)
    ends = [Ends(int(port), program), Ends(theirs.port, theirs)]
    streams = list(enumerate(all_of(kind, seed, count)))
    first = {one[0]: (our, their) for one, our, their in outcomes(kind, ends, streams, QUIET) if our != their}
    again = [one for one in streams if one[0] in first]
    # Once more, with more patience: a busy machine is no difference. A third time where it was another one.
    found, unsure = {}, []
    for one, our, their in outcomes(kind, ends, again, QUIET * 3):
        if (our, their) == first[one[0]]:
            found.setdefault((unusual(kind, *one[1]), our, their), []).append(one[1])
        elif our != their:
            unsure.append(one)
    for one, our, their in outcomes(kind, ends, unsure, QUIET * 5):
        if our != their:
            found.setdefault((unusual(kind, *one[1]), our, their), []).append(one[1])
    for one in (program, theirs):
        if one:
            one.socket.close()
    return len(streams), found


def main():
    seed, count = int(sys.argv[1]), int(sys.argv[2])
    listeners = dict(listener.split("=") for listener in sys.argv[3:])
    context = zmq.Context()
    with ThreadPoolExecutor(len(listeners)) as pool:
        jobs = {
            # A socket is used by one thread, from its beginning to its end.
            kind: pool.submit(differences, context, kind, at, seed, count if kind == "ROUTER" else count // 3)
            for kind, at in listeners.items()
        }
    report, total = [], 0
    for kind, job in jobs.items():
        streams, found = job.result()
        total += streams
        for (what, our, their), datas in sorted(found.items()):
            shown = [part.hex()[:400] for part in datas[0]]
            report.append(
                {"unusual": what, "kind": kind, "ours": our, "libzmq": their, "count": len(datas), "bytes": shown}
            )
    context.term()
    print(json.dumps({"compared": total, "differences": report}))


main()
