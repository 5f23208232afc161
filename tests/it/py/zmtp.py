"""Raw ZMTP for those who mean no good: bytes made by hand, and a socket that sends them.

It knows no library that could refuse to send something. With keys it speaks as one whom a CURVE listener
admits: what would be sent in clear text after the handshake goes into boxes, frame by frame.
"""

import socket
import struct

MORE, LONG, COMMAND = 1, 2, 4

SPOKEN = {"kind": b"DEALER", "keys": None}


def speak(kind, server=None, own=None):
    """As what to come where nothing else is said; with the certificates of a CURVE listener and of one whom
    it admits, as that one."""
    SPOKEN["kind"] = kind
    if own:
        from curve import load

        SPOKEN["keys"] = (load(server)["public"], load(own)["public"], load(own)["secret"])


def greeting(major=3, minor=1, mechanism=None, as_server=0):
    if mechanism is None:
        mechanism = b"CURVE" if SPOKEN["keys"] else b"NULL"
    head = b"\xff" + bytes(8) + b"\x7f" + bytes([major, minor])
    return (head + mechanism.ljust(20, b"\0") + bytes([as_server])).ljust(64, b"\0")


def header(size, flags=0):
    """The head of a long frame that declares `size`, whatever follows."""
    return bytes([flags | LONG]) + struct.pack(">Q", size)


def frame(payload, flags=0):
    if len(payload) > 255:
        return header(len(payload), flags) + payload
    return bytes([flags, len(payload)]) + payload


def command(name, body=b""):
    return frame(bytes([len(name)]) + name + body, COMMAND)


def prop(name, value):
    return bytes([len(name)]) + name + struct.pack(">I", len(value)) + value


def properties(kind=None, identity=b"", *more):
    kind = SPOKEN["kind"] if kind is None else kind
    body = prop(b"Socket-Type", kind) + prop(b"Identity", identity)
    return body + b"".join(prop(n, v) for n, v in more)


def ready(kind=None, identity=b"", *more):
    return command(b"READY", properties(kind, identity, *more))


def message(*parts):
    last = len(parts) - 1
    return b"".join(frame(p, MORE if i < last else 0) for i, p in enumerate(parts))


class Raw:
    """A connection that sends what it is told and says how it ended."""

    def __init__(self, port, *chunks, timeout=20):
        self.socket = socket.create_connection(("127.0.0.1", port), timeout=timeout)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.sent = 0
        self.got = b""
        self.seal = None
        for chunk in chunks:
            self.send(chunk)

    def send(self, data):
        """Sends as much as the other side lets us; says whether that was all."""
        if self.seal:
            data = self.seal.close(data)
        try:
            self.socket.sendall(data)
        except (ConnectionError, TimeoutError):
            return False
        self.sent += len(data)
        return True

    def read(self, least):
        """Reads until so many bytes came; says whether they did."""
        while len(self.got) < least:
            try:
                data = self.socket.recv(65536)
            except (ConnectionError, TimeoutError):
                return False
            if not data:
                return False
            self.take(data)
        return True

    def take(self, data):
        """Keeps what came, in clear text."""
        self.got += self.seal.open(data) if self.seal else data

    def is_closed(self, wait=20.0):
        """Whether the other side ends it within `wait` seconds."""
        self.socket.settimeout(wait)
        try:
            while True:
                data = self.socket.recv(65536)
                if not data:
                    return True
                self.take(data)
        except ConnectionError:
            return True
        except TimeoutError:
            return False

    def vanish(self):
        """Ends without a word: the kernel sends a reset."""
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.socket.close()

    def close(self):
        self.socket.close()


def welcomed(port, minor=1):
    """A connection to a CURVE listener whose HELLO was answered; and what the rest of its handshake needs."""
    from curve import welcome

    raw = Raw(port, greeting(minor=minor))
    return raw, welcome(raw, SPOKEN["keys"])


def introduced(port, kind=None, identity=b"", *more, minor=1, body=None):
    """A connection that has said who it is, as the listener's mechanism has it; `body` instead of the
    properties it would tell."""
    body = properties(kind, identity, *more) if body is None else body
    if SPOKEN["keys"]:
        from curve import initiate

        raw, found = welcomed(port, minor)
        initiate(raw, SPOKEN["keys"], found, body)
    else:
        raw = Raw(port, greeting(minor=minor), command(b"READY", body))
    return raw


def shaken(port, kind=None, identity=b"", minor=1):
    """A connection whose handshake is done."""
    raw = introduced(port, kind, identity, minor=minor)
    if SPOKEN["keys"]:
        assert raw.seal.hears_ready(raw), "READY did not come"
        return raw
    assert raw.read(66 + 6), "the handshake was not answered"
    size = raw.got[65]
    assert raw.read(66 + size), "READY was cut short"
    raw.got = raw.got[66 + size :]
    return raw
