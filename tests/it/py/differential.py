"""The same bytes to libzmq's ROUTER and to a replica: each must close, answer or wait alike.

`differential.py PORT SEED COUNT`: the replica listens on PORT; COUNT streams are changed at random. Prints, as
JSON, how many streams were compared and each difference: what is unusual about the bytes, what we did, what
libzmq did, and one stream in hex.
"""

import json
import random
import selectors
import socket
import struct
import sys
import threading
import time

import zmq

from zmtp import COMMAND, LONG, MORE, command, frame, greeting, header, message, prop, ready

LIMIT = 64 << 20
AT_ONCE = 150
QUIET = 0.4
PING = message(b"ZN1", b"ping", b"id")
NAME = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"


def libzmq(context):
    """A ROUTER that gives every message back; its port."""
    router = context.socket(zmq.ROUTER)
    router.maxmsgsize = LIMIT
    router.router_mandatory = 0
    port = router.bind_to_random_port("tcp://127.0.0.1")

    def echo():
        while True:
            try:
                router.send_multipart(router.recv_multipart())
            except zmq.ContextTerminated:
                router.close(linger=0)
                return
            except zmq.ZMQError:
                continue

    threading.Thread(target=echo, daemon=True).start()
    return port


def shapes():
    """Each field of a good stream, in every way that matters, one at a time: what is sent at once, and
    what is sent when that was answered."""
    rest = (ready(), PING)
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
    kind = prop(b"Socket-Type", b"DEALER")
    for body in (
        b"",
        kind,
        kind + prop(b"Identity", b""),
        kind + prop(b"Identity", b"i" * 255),
        kind + prop(b"Identity", b"i" * 256),
        kind + prop(b"Identity", b"\0zero"),
        kind + kind,
        kind + prop(b"Identity", b"a") + prop(b"Identity", b"b"),
        kind + prop(b"Socket-Type", b"SUB"),
        kind + prop(b"X-Extra", b"v" * 300),
        kind + prop(b"X-Extra", b"v" * 5_000),
        kind + prop(b"bad name", b"v"),
        kind + prop(b"bad\xffname", b"v"),
        kind + prop(b"", b"v"),
        kind + b"\x05trail",
        kind + b"\x01x",
        kind + b"\x01x\x00\x00\x00\x09short",
        kind + b"\x01x\xff\xff\xff\xff",
        prop(b"socket-type", b"DEALER"),
        prop(b"Socket-Type", b"dealer"),
        prop(b"Identity", b"only"),
        *(prop(b"Socket-Type", t) for t in (b"REQ", b"ROUTER", b"REP", b"PUB", b"SUB", b"XPUB")),
        *(prop(b"Socket-Type", t) for t in (b"XSUB", b"PUSH", b"PULL", b"PAIR", b"NONE", b"")),
        b"".join(prop(b"P%d" % i, b"") for i in range(20)) + kind,
        b"".join(prop(b"P%d" % i, b"") for i in range(300)) + kind,
    ):
        yield greeting() + command(b"READY", body), PING
    for first in (
        b"",
        PING,
        command(b"ready", kind),
        command(b"READYX", kind),
        command(b"ERROR", b"\x03bad"),
        command(b"ERROR", b"\xffbad"),
        command(b"ERROR"),
        command(b"HELLO", b"x" * 194),
        command(b"PING", b"\0\0"),
        frame(b"", COMMAND),
        frame(b"\xffREADY", COMMAND),
        frame(b"\x05READY" + kind),
        frame(b"\x05READY" + kind, COMMAND | MORE),
        header(1 << 40, COMMAND),
        bytes([COMMAND | LONG]) + struct.pack(">Q", 6 + len(kind)) + b"\x05READY" + kind,
    ):
        yield greeting() + first, PING
    for late in (
        ready(),
        command(b"ERROR", b"\x03bad"),
        command(b"ERROR", b"\x09bad"),
        command(b"PING", b"\0\x0actx"),
        command(b"PING", b"\0\x0a" + b"c" * 16),
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
        yield greeting() + ready(), late + PING
    yield greeting() + ready() + PING, b""
    for cut in (1, 5, 10, 11, 12, 63, 64, 65, 80, len(greeting() + ready())):
        yield (greeting() + ready())[:cut], b""


def changed(seed):
    """A good stream with one to three bytes changed, added or left out."""
    dice = random.Random(seed)
    data = bytearray(greeting(minor=dice.choice((0, 1))))
    data += ready(dice.choice((b"DEALER", b"REQ")), dice.choice((b"", b"name %d" % seed)))
    answered = len(data)
    data += command(b"PING", b"\0\x0actx") * dice.choice((0, 1))
    data += message(b"", b"ZN1", b"ping", b"id") + message(b"", b"end" * dice.choice((1, 90)))
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


def unusual(opening, later):
    """The first thing about a stream that is not as the protocol or our limits have it."""
    data = opening + later
    if len(data) < 64:
        return "short greeting"
    if data[0] != 0xFF or data[9] != 0x7F:
        return "signature"
    if any(data[1:8]):
        return "signature padding"
    if data[10] < 3:
        return "old version"
    if data[12:32].rstrip(b"\0") != b"NULL":
        return "mechanism"
    if data[32] > 1:
        return "as-server above 1"
    if data[32] == 1:
        return "as-server under NULL"
    at, is_first, parts, total, strange = 64, True, 0, 0, None
    while at < len(data):
        flags = data[at]
        if flags & 0xF8:
            return "reserved flag bits"
        size, start = (data[at + 1] if at + 1 < len(data) else None), at + 2
        if flags & LONG:
            size = struct.unpack(">Q", data[at + 1 : at + 9])[0] if at + 9 <= len(data) else None
            start = at + 9
        if flags & COMMAND and flags & MORE:
            return "command with MORE"
        if size is None:
            return strange or "cut short"
        body, is_whole = data[start : start + size], start + size <= len(data)
        if is_first and size > 4096 + 6:
            return "metadata over its limit"
        if not is_first and flags & COMMAND and size > 1024 + 10:
            return "command over its limit"
        if size > LIMIT:
            return "frame over its limit"
        if is_first and not flags & COMMAND:
            return "message before READY" if is_whole or size < 4096 else "cut short"
        if not flags & COMMAND:
            parts += 1
            if parts > 64:
                return "parts over their limit"
        if not is_whole:
            return strange or "cut short"
        if flags & COMMAND:
            found = odd_first(body) if is_first else odd_command(body)
            strange = strange or found
            is_first = False
        elif not flags & MORE:
            parts = 0
        at = start + size
    if opening == greeting() + ready() + PING:
        return "message before our READY"
    return strange or ("nothing" if not is_first and not parts else "cut short")


def odd_first(body):
    if not body:
        return "empty command"
    if 1 + body[0] > len(body):
        return "command name over its end"
    name, rest = body[1 : 1 + body[0]], body[1 + body[0] :]
    if name == b"ERROR":
        return "ERROR before READY"
    if name != b"READY":
        return "another command before READY"
    count, seen = 0, {}
    while rest:
        count += 1
        length = rest[0]
        if len(rest) < 1 + length + 4:
            return "property cut short"
        key = rest[1 : 1 + length]
        size = struct.unpack(">I", rest[1 + length : 5 + length])[0]
        value, after = rest[5 + length : 5 + length + size], rest[5 + length + size :]
        if len(value) < size:
            return "property cut short"
        if not key:
            return "empty property name"
        if any(chr(c) not in "-_.+" and not (c < 128 and chr(c).isalnum()) for c in key):
            return "property name of other characters"
        if key.lower() in seen and key.lower() in (b"socket-type", b"identity"):
            return "property twice"
        seen[key.lower()] = value
        rest = after
    if count > 256:
        return "many properties"
    if len(seen.get(b"identity", b"")) > 255:
        return "identity over 255 bytes"
    if seen.get(b"identity", b"").startswith(b"\0"):
        return "identity that starts with zero"
    kind = seen.get(b"socket-type")
    if kind is None:
        return "no socket type"
    if kind not in (b"DEALER", b"REQ", b"ROUTER"):
        return "socket type that may not"
    return None


def odd_command(body):
    if not body:
        return "empty command"
    if 1 + body[0] > len(body):
        return "command name over its end"
    name, rest = body[1 : 1 + body[0]], body[1 + body[0] :]
    if not name or any(c not in NAME for c in name):
        return "command name of other characters"
    if name == b"READY":
        return "READY again"
    if name == b"ERROR":
        return "ERROR after READY"
    if name == b"PING" and not 2 <= len(rest) <= 18:
        return "PING of another size"
    if name == b"PONG" and len(rest) > 16:
        return "PONG of another size"
    if name not in (b"PING", b"PONG"):
        return "command without a meaning"
    return None


def judged(got, is_closed):
    """`answers` where a message came back, else whether the connection was ended."""
    at = 64
    while at + 2 <= len(got):
        flags, size, start = got[at], got[at + 1], at + 2
        if flags & LONG:
            if at + 9 > len(got):
                break
            size, start = struct.unpack(">Q", got[at + 1 : at + 9])[0], at + 9
        if not flags & COMMAND:
            return "answers, closes" if is_closed else "answers"
        at = start + size
    return "closes" if is_closed else "waits"


def outcomes(port, streams, patience=QUIET):
    """What became of each stream, many at a time, once nothing moved for a while."""
    selector = selectors.DefaultSelector()
    state = []
    for number, (opening, _) in enumerate(streams):
        sock = socket.create_connection(("127.0.0.1", port))
        state.append([sock, b"", False])
        sock.sendall(opening)
        sock.setblocking(False)
        selector.register(sock, selectors.EVENT_READ, number)
    listen(selector, state, patience)
    for (_, later), one in zip(streams, state):
        try:
            one[0].sendall(later)
        except OSError:
            pass  # it was closed before
    listen(selector, state, patience)
    selector.close()
    for one in state:
        one[0].close()
    return [judged(got, is_closed) for _, got, is_closed in state]


def listen(selector, state, patience):
    """Reads all until nothing moved for a while."""
    quiet = time.monotonic() + patience
    while time.monotonic() < quiet:
        for key, _ in selector.select(0.05):
            one = state[key.data]
            quiet = time.monotonic() + patience
            try:
                data = one[0].recv(65536)
            except ConnectionError:
                data = b""
            one[1] += data
            if not data:
                one[2] = True
                selector.unregister(one[0])


def main():
    port, seed, count = int(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3])
    context = zmq.Context()
    theirs = libzmq(context)
    streams = list(shapes()) + [changed(seed + number) for number in range(count)]
    found = {}
    for at in range(0, len(streams), AT_ONCE):
        some = streams[at : at + AT_ONCE]
        differ = [
            data
            for data, our, their in zip(some, outcomes(port, some), outcomes(theirs, some))
            if our != their
        ]
        # Once more, with more patience: a busy machine is no difference.
        ours = outcomes(port, differ, QUIET * 3)
        for data, our, their in zip(differ, ours, outcomes(theirs, differ, QUIET * 3)):
            if our != their:
                found.setdefault((unusual(*data), our, their), []).append(data)
    differences = [
        {
            "unusual": what,
            "ours": our,
            "libzmq": their,
            "count": len(datas),
            "bytes": [part.hex() for part in datas[0]],
        }
        for (what, our, their), datas in sorted(found.items())
    ]
    print(json.dumps({"compared": len(streams), "differences": differences}))
    # The thread that uses the socket closes it: libzmq aborts where another one does.
    context.term()


main()
