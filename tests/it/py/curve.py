"""The client's side of CURVE (RFC 26) by hand, with libsodium's boxes and nothing that could refuse to send.

`close` puts whole frames into boxes and leaves what is none as it is, so that a broken frame reaches the
listener broken; `open` gives what came in clear text.
"""

import os
import re
import struct

from nacl.public import Box, PrivateKey, PublicKey
from zmq.utils import z85

from zmtp import COMMAND, LONG, MORE, command, frame

GREETING, WELCOME_BYTES = 64, 8 + 16 + 144


def load(certificate):
    """The keys in a file of czmq's format: `public`, and `secret` in a secret one."""
    with open(certificate) as file:
        found = re.findall(r'^ +(public|secret)-key = "(.{40})"', file.read(), re.MULTILINE)
    return {name: z85.decode(text) for name, text in found}


def nonce(label, number):
    return label + struct.pack(">Q", number)


def split(data):
    """The first whole frame of bytes: flags, body, and where the next begins; None where there is none."""
    if len(data) < 2 or (data[0] & LONG and len(data) < 9):
        return None
    size, start = (struct.unpack(">Q", data[1:9])[0], 9) if data[0] & LONG else (data[1], 2)
    if len(data) < start + size:
        return None
    return data[0], data[start : start + size], start + size


class Seal:
    """A connection's boxes, once both sides have shown their short-term keys."""

    def __init__(self, box, rest):
        self.box = box
        self.sent = 2  # HELLO and INITIATE had 1 and 2
        self.held = rest
        self.is_broken = False

    def close(self, data):
        boxed, at = [], 0
        while not self.is_broken and at < len(data):
            found = split(data[at : at + 9 + 255] if not data[at] & LONG else data[at:])
            if found is None or found[0] > MORE | LONG | COMMAND:
                self.is_broken = True
                break
            flags, body, size = found
            at += size
            inner = flags & MORE | (2 if flags & COMMAND else 0)
            boxed.append(self.message(bytes([inner]) + body))
        return b"".join(boxed) + data[at:]

    def message(self, plain):
        self.sent += 1
        sealed = self.box.encrypt(plain, nonce(b"CurveZMQMESSAGEC", self.sent)).ciphertext
        return frame(b"\x07MESSAGE" + struct.pack(">Q", self.sent) + sealed)

    def open(self, data):
        self.held += data
        plain = b""
        while found := split(self.held):
            flags, body, size = found
            self.held = self.held[size:]
            if body[:8] != b"\x07MESSAGE":
                plain += frame(body, flags & ~LONG)
                continue
            inner = self.box.decrypt(body[16:], b"CurveZMQMESSAGES" + body[8:16])
            plain += frame(inner[1:], (inner[0] & MORE) | (COMMAND if inner[0] & 2 else 0))
        return plain

    def hears_ready(self, raw):
        """Waits for the listener's READY, and takes it away."""
        raw.take(b"")
        while not (found := split(raw.got)):
            if not raw.read(len(raw.got) + 1):
                return False
        raw.got = raw.got[found[2] :]
        return found[1][:6] == b"\x05READY"


def read_frame(raw, at):
    """The body of the frame that begins at an offset of what came; None where the connection ended."""
    while not (found := split(raw.got[at:])):
        if not raw.read(len(raw.got) + 1):
            return None
    return found[1]


def hello(server, short):
    """The first command of a client."""
    signature = Box(short, server).encrypt(bytes(64), nonce(b"CurveZMQHELLO---", 1)).ciphertext
    body = bytes([1, 0]) + bytes(72) + bytes(short.public_key) + struct.pack(">Q", 1) + signature
    return command(b"HELLO", body)


def welcome(raw, keys):
    """Says HELLO to a listener that was greeted; our short-term key, its own, and its cookie."""
    server, short = PublicKey(keys[0]), PrivateKey.generate()
    raw.send(hello(server, short))
    said = raw.read(GREETING) and read_frame(raw, GREETING)
    assert said and said[:8] == b"\x07WELCOME", "WELCOME did not come"
    opened = Box(short, server).decrypt(said[24:], b"WELCOME-" + said[8:24])
    return short, PublicKey(opened[:32]), opened[32:]


def initiate(raw, keys, found, properties):
    """Says who we are; what is sent from then on goes into boxes."""
    server, public, secret = keys
    short, theirs, cookie = found
    box, salt = Box(short, theirs), os.urandom(16)
    proof = bytes(short.public_key) + server
    vouch = Box(PrivateKey(secret), theirs).encrypt(proof, b"VOUCH---" + salt).ciphertext
    told = public + salt + vouch + properties
    sealed = box.encrypt(told, nonce(b"CurveZMQINITIATE", 2)).ciphertext
    raw.send(command(b"INITIATE", cookie + struct.pack(">Q", 2) + sealed))
    raw.got, rest = b"", raw.got[GREETING + 2 + WELCOME_BYTES :]
    raw.seal = Seal(box, rest)
