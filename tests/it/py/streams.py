"""Streams of bytes for a listener: each field of a good one in every way that matters, one at a time, and good
ones changed at random. A stream is what is sent at once, and what is sent when that was answered.

A token in what it asks for at its end tells whose it is, wherever it comes out.
"""

import random
import struct

from zmtp import COMMAND, LONG, MORE, command, frame, greeting, header, message, prop, ready

LIMIT = 64 << 20
TOPIC, SUBSCRIPTIONS = 1024, 10_000
PEERS = {
    "ROUTER": b"DEALER",
    "REP": b"REQ",
    "DEALER": b"DEALER",
    "PULL": b"PUSH",
    "SUB": b"PUB",
    "XSUB": b"XPUB",
    "PUB": b"SUB",
    "XPUB": b"XSUB",
}
PUBLISHING = ("PUB", "XPUB")


MARK = b"\xabMARK\xba"


def token(number):
    return b"t%05d" % number


def asked(kind, mark):
    """What a listener of a type is asked for: it must answer it, take it, or publish to it."""
    if kind == "ROUTER":
        return message(b"ZN1", b"ping", mark)
    if kind == "REP":
        return message(b"", mark)
    return command(b"SUBSCRIBE", mark + b"1") if kind in PUBLISHING else message(mark)


def shapes(kind, mark):
    """Each field of a good stream, in every way that matters, one at a time."""
    peer, ask = PEERS[kind], asked(kind, mark)
    rest = (ready(peer), ask)
    for at in (0, 1, 8, 9):
        odd = bytes([greeting()[at] ^ 0x55])
        yield greeting()[:at] + odd + greeting()[at + 1 :] + rest[0], rest[1]
    for major in (0, 1, 2, 3, 4, 255):
        yield greeting(major=major) + rest[0], rest[1]
    for minor in (0, 1, 2, 255):
        yield greeting(minor=minor) + rest[0], rest[1]
    for name in (b"NULL", b"null", b"", b"PLAIN", b"CURVE", b"GSSAPI", b"NULLX", b"NULL\0X", b"X" * 20):
        yield greeting(mechanism=name) + rest[0], rest[1]
    for flag in (0, 1, 2, 255):
        yield greeting(as_server=flag) + rest[0], rest[1]
    yield greeting()[:33] + b"\xaa" * 31 + rest[0], rest[1]
    told = prop(b"Socket-Type", peer)
    for body in (
        b"",
        told,
        told + prop(b"Identity", b""),
        told + prop(b"Identity", b"i" * 255),
        told + prop(b"Identity", b"i" * 256),
        told + prop(b"Identity", b"\0zero"),
        told + told,
        told + prop(b"Identity", b"a") + prop(b"Identity", b"b"),
        told + prop(b"Socket-Type", b"SUB"),
        told + prop(b"X-Extra", b"v" * 300),
        told + prop(b"X-Extra", b"v" * 5_000),
        told + prop(b"bad name", b"v"),
        told + prop(b"bad\xffname", b"v"),
        told + prop(b"", b"v"),
        told + b"\x05trail",
        told + b"\x01x",
        told + b"\x01x\x00\x00\x00\x09short",
        told + b"\x01x\xff\xff\xff\xff",
        prop(b"socket-type", peer),
        prop(b"Socket-Type", peer.lower()),
        prop(b"Identity", b"only"),
        *(prop(b"Socket-Type", t) for t in (b"REQ", b"ROUTER", b"REP", b"DEALER", b"PUB", b"SUB")),
        *(prop(b"Socket-Type", t) for t in (b"XPUB", b"XSUB", b"PUSH", b"PULL", b"PAIR", b"NONE", b"")),
        b"".join(prop(b"P%d" % i, b"") for i in range(20)) + told,
        b"".join(prop(b"P%d" % i, b"") for i in range(300)) + told,
    ):
        yield greeting() + command(b"READY", body), ask
    for first in (
        b"",
        ask,
        command(b"ready", told),
        command(b"READYX", told),
        command(b"ERROR", b"\x03bad"),
        command(b"ERROR", b"\xffbad"),
        command(b"ERROR"),
        command(b"HELLO", b"x" * 194),
        command(b"PING", b"\0\0"),
        frame(b"", COMMAND),
        frame(b"\xffREADY", COMMAND),
        frame(b"\x05READY" + told),
        frame(b"\x05READY" + told, COMMAND | MORE),
        header(1 << 40, COMMAND),
        bytes([COMMAND | LONG]) + struct.pack(">Q", 6 + len(told)) + b"\x05READY" + told,
    ):
        yield greeting() + first, ask
    for late in (
        ready(peer),
        command(b"ERROR", b"\x03bad"),
        command(b"ERROR", b"\x09bad"),
        # A minute to live: a busy machine is to end no peer for its silence.
        command(b"PING", b"\x02\x58ctx"),
        command(b"PING", b"\x02\x58" + b"c" * 16),
        command(b"PING", b"\0\x0a" + b"c" * 17),
        command(b"PING", b"\0"),
        command(b"PING"),
        command(b"PONG", b"ctx"),
        command(b"PONG", b"c" * 17),
        command(b"SUBSCRIBE", b"topic"),
        command(b"CANCEL", b"topic"),
        command(b"JOIN", b"group"),
        command(b"UNKNOWN", b"body"),
        command(b"UNKNOWN", b"b" * 2_000),
        command(b"bad name", b"body"),
        command(b"", b"body"),
        frame(b"", COMMAND),
        frame(b"\xffX", COMMAND),
        *(bytes([flags, 0]) for flags in range(8, 256, 31)),
        bytes([COMMAND | MORE, 5]) + b"\x04PING",
        bytes([COMMAND | MORE | LONG]) + struct.pack(">Q", 5) + b"\x04PING",
        header(3) + b"abc",
        header(LIMIT) + b"some",
        header(LIMIT + 1),
        header(1 << 40),
        header(1 << 62),
        header((1 << 63) - 1),
        header(1 << 63),
        header((1 << 64) - 1),
        b"\0\0",
        message(*[b"p"] * 64),
        message(*[b"p"] * 65),
        message(b"x" * 300),
        b"\x01\x00",
    ):
        yield greeting() + ready(peer), late + ask
    yield greeting() + ready(peer) + ask, b""
    for cut in (1, 5, 10, 11, 12, 63, 64, 65, 80, len(greeting() + ready(peer))):
        yield (greeting() + ready(peer))[:cut], b""


def changed(kind, mark, seed):
    """A good stream with one to three bytes changed, added or left out."""
    peers = (b"DEALER", b"REQ") if kind == "ROUTER" else (PEERS[kind],)
    dice = random.Random(seed)
    data = bytearray(greeting(minor=dice.choice((0, 1))))
    data += ready(dice.choice(peers), dice.choice((b"", b"name %d" % seed)))
    answered = len(data)
    data += command(b"PING", b"\x02\x58ctx") * dice.choice((0, 1))
    data += (message(b"", b"ZN1", b"ping", b"id") if kind == "ROUTER" else asked(kind, mark))
    data += message(b"", (mark + b"end") * dice.choice((1, 40)))
    for _ in range(dice.choice((1, 1, 2, 3))):
        at = dice.randrange(len(data))
        how = dice.randrange(4)
        if how == 0:
            data[at] ^= 1 << dice.randrange(8)
        elif how == 1:
            data[at] = dice.choice((0, 1, 2, 3, 4, 6, 127, 128, 255))
        elif how == 2:
            data.insert(at, dice.randrange(256))
        else:
            del data[at]
    return bytes(data[:answered]), bytes(data[answered:])


def subscriptions(mark):
    """What only a publisher has: subscriptions, in both forms and to both versions, good and malformed."""
    one, other = mark + b"1", mark + b"2"
    forms = {
        "command": (lambda t: command(b"SUBSCRIBE", t), lambda t: command(b"CANCEL", t)),
        "message": (lambda t: message(b"\1" + t), lambda t: message(b"\0" + t)),
    }
    for on, off in forms.values():
        for late in (
            on(one),
            on(mark),
            on(b""),
            on(b"") + off(b""),
            on(b"") + off(one),
            on(one) + off(one),
            on(one) + off(mark),
            on(one) + on(one) + off(one),
            on(one) + on(one) + off(one) + off(one),
            on(one) + on(other),
            on(one) + on(other) + off(one),
            on(one) + off(other),
            off(one) + on(one),
            off(one),
            off(b""),
            on(mark + b"x" * (TOPIC - 6)) + on(one),
            on(mark + b"x" * (TOPIC - 5)) + on(one),
            off(mark + b"x" * (TOPIC - 5)) + on(one),
            on(mark + b"x" * 100_000) + on(one),
            b"".join(on(mark + b"x%d" % n) for n in range(SUBSCRIPTIONS - 1)) + on(one),
            b"".join(on(mark + b"x%d" % n) for n in range(SUBSCRIPTIONS)) + on(one),
            on(one)[:-1],
            on(one) + on(other)[:-1],
        ):
            for minor in (0, 1) if len(late) < 100_000 else (1,):
                yield minor, late
    (on, off), (said, unsaid) = forms.values()
    for late in (
        on(one) + unsaid(one),
        said(one) + off(one),
        on(one) + said(one) + off(one),
        message(b"") + on(one),
        message(b"\1" + one, b""),
        message(b"\1", one),
        message(b"\1" + one, b"\1" + other),
        message(b"", b"\1" + one),
        message(b"\2" + one) + on(other),
        message(mark + b"hello") + on(one),
        message(mark + b"hello", b"world") + on(one),
        message(mark + b"hello" * 1000) + on(one),
        frame(b"\1" + one, LONG)[:1] + struct.pack(">Q", 1 + len(one)) + b"\1" + one,
        frame(b"\x09SUBSCRIBE" + one, COMMAND | MORE) + on(one),
        frame(b"\x09SUBSCRIBE" + one),
        command(b"subscribe", one),
        command(b"SUBSCRIB", one),
        command(b"SUBSCRIBEX", one) + on(other),
        command(b"cancel", one) + on(one),
        on(one) + command(b"CANCE", one),
        on(one) + command(b"UNSUBSCRIBE", one),
        frame(b"\x20SUBSCRIBE" + one, COMMAND),
        command(b"JOIN", one) + on(one),
        command(b"LEAVE", one) + on(one),
        on(one) + ready(),
        on(one) + command(b"ERROR", b"\x03bad"),
    ):
        for minor in (0, 1):
            yield minor, late


def all_of(kind, seed, count):
    """Every stream for a listener of a type, each with a token of its own; `count` of them by chance."""
    found = list(shapes(kind, MARK))
    if kind in PUBLISHING:
        for minor, late in subscriptions(MARK):
            found.append((greeting(minor=minor) + ready(PEERS[kind]), late))
    found += [changed(kind, MARK, seed + number) for number in range(count)]
    return [
        tuple(part.replace(MARK, token(number)) for part in stream)
        for number, stream in enumerate(found)
    ]
