"""Raw ZMTP for those who mean no good: bytes made by hand, and a socket that sends them.

It knows no library that could refuse to send something.
"""

import socket
import struct

MORE, LONG, COMMAND = 1, 2, 4


def greeting(major=3, minor=1, mechanism=b"NULL", as_server=0):
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


def ready(kind=b"DEALER", identity=b"", *more):
    body = prop(b"Socket-Type", kind) + prop(b"Identity", identity)
    return command(b"READY", body + b"".join(prop(n, v) for n, v in more))


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
        for chunk in chunks:
            self.send(chunk)

    def send(self, data):
        """Sends as much as the other side lets us; says whether that was all."""
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
            self.got += data
        return True

    def is_closed(self, wait=20.0):
        """Whether the other side ends it within `wait` seconds."""
        self.socket.settimeout(wait)
        try:
            while True:
                data = self.socket.recv(65536)
                if not data:
                    return True
                self.got += data
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


def shaken(port, kind=b"DEALER", identity=b"", minor=1):
    """A connection whose NULL handshake is done."""
    raw = Raw(port, greeting(minor=minor), ready(kind, identity))
    assert raw.read(66 + 6), "the handshake was not answered"
    size = raw.got[65]
    assert raw.read(66 + size), "READY was cut short"
    raw.got = raw.got[66 + size :]
    return raw
