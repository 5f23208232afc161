"""One connection for each limit: what passes, and what is one too many. Prints what came back.

limits.py PORT NAME: `ok` or `closed` for the two sides of the limit NAME.
"""

import json
import sys

from zmtp import MORE, Raw, command, frame, greeting, message, ready, shaken

LONG = 20.0


def asked(raw, *parts):
    """Whether a ZN1 ping, with these frames before it, is answered."""
    raw.got = b""
    raw.socket.settimeout(LONG)
    raw.send(message(*parts, b"", b"ZN1", b"ping", b"an-id"))
    while b"an-id" not in raw.got:
        if not raw.read(len(raw.got) + 1):
            return False
    return True


def parts(port):
    # The limit is 7: two before the empty frame are six in all.
    passes = asked(shaken(port), b"1", b"2", b"3")
    over = shaken(port)
    over.send(frame(b"x", MORE) * 8)
    return passes, over


def message_bytes(port):
    passes = asked(shaken(port), b"x" * 60_000)
    over = shaken(port)
    over.send(frame(b"x" * 65_537))
    return passes, over


def metadata(port):
    passes = Raw(port, greeting(), ready(b"DEALER", b"", (b"X-A", b"v" * 400)))
    passes.read(66 + 6)
    passes.got = b""
    return asked(passes), Raw(port, greeting(), ready(b"DEALER", b"", (b"X-A", b"v" * 520)))


def pings(port):
    ping = command(b"PING", b"\0\0")
    passes = shaken(port)
    passes.send(ping * 5)
    alive = asked(passes)
    over = shaken(port)
    over.send(ping * 6)
    return alive, over


def identity(port):
    holder = shaken(port, identity=b"twin")
    over = Raw(port, greeting(), ready(b"DEALER", b"twin"))
    over.is_closed(LONG)
    assert b"\x05ERROR" in over.got and b"\x05READY" not in over.got, over.got
    assert b"identity" in over.got, over.got
    return asked(holder), over


def handshake(port):
    slow = Raw(port, greeting()[:20])
    return asked(shaken(port)), slow


def pending(port):
    # The limit is 4: the oldest of five makes room.
    oldest = Raw(port, greeting()[:20])
    rest = [Raw(port, greeting()[:20]) for _ in range(4)]
    assert oldest.is_closed(LONG) and len(rest) == 4
    return asked(shaken(port)), oldest


def connections(port):
    # The limit is 12, and the client that is served throughout has two at most.
    held = [shaken(port) for _ in range(9)]
    over, closed = [], 0
    for _ in range(6):
        raw = Raw(port, greeting(), ready())
        closed += not raw.read(66 + 6)
        over.append(raw)
    assert 0 < closed, "some are one too many"
    alive = all(asked(raw) for raw in held)
    for raw in held + over:
        raw.close()
    return alive, None


def half_open(port):
    oldest = Raw(port, greeting()[:20])
    rest = [Raw(port, greeting()[:20]) for _ in range(200)]
    assert len(rest) == 200
    return asked(shaken(port)), oldest


def protocol(port):
    return asked(shaken(port)), Raw(port, b"GET / HTTP/1.1\r\n\r\n")


LIMITS = [
    parts,
    message_bytes,
    metadata,
    pings,
    identity,
    handshake,
    pending,
    connections,
    half_open,
    protocol,
]

if __name__ == "__main__":
    port, name = int(sys.argv[1]), sys.argv[2]
    passes, over = next(it for it in LIMITS if it.__name__ == name)(port)
    closed = over is None or over.is_closed(LONG)
    print(json.dumps({"passes": passes, "closed": closed}))
