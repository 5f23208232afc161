"""What a client can say to a CURVE listener: each field of a good handshake, and of what follows in boxes, in
every way that matters, one at a time. What is unusual has the words of `docs/differences.md`.
"""

import random
import struct

from nacl.public import Box, PrivateKey

from curve import Seal, nonce
from streams import TOPIC, asked
from zmtp import COMMAND, LONG, MORE, command, frame, greeting, header, message, prop, properties, ready

GOOD = "nothing"


class Client:
    """How one stream says what it says; those below change one of it."""

    def __init__(self, what=GOOD, **changed):
        self.what = what
        self.greeting = greeting(mechanism=b"CURVE")
        self.hello = lambda body: command(b"HELLO", body)
        self.initiate = lambda body: command(b"INITIATE", body)
        self.about_hello = {}
        self.about_initiate = {}
        self.told = None
        # What is sent once the listener has said READY, before what is asked for.
        self.late = lambda boxes: b""
        self.__dict__.update(changed)


def hello_body(server, short, version=b"\1\0", padding=bytes(72), key=None, number=1, proof=bytes(64), flip=None):
    """The body of a HELLO."""
    signature = Box(short, server).encrypt(proof, nonce(b"CurveZMQHELLO---", number)).ciphertext
    body = version + padding + (key or bytes(short.public_key)) + struct.pack(">Q", number) + signature
    return flipped(body, flip)


def flipped(body, at):
    if at is None:
        return body
    at %= len(body)
    return body[:at] + bytes([body[at] ^ 1]) + body[at + 1 :]


def initiate_body(
    keys, found, told, number=2, flip=None, vouched=None, vouch_for=None, vouch_flip=None, secret=None, public=None
):
    """The body of an INITIATE: `vouched` short-term key, `vouch_for` that server, with that `secret`."""
    server, own_public, own_secret = keys
    short, theirs, cookie = found
    salt = b"s" * 16
    proof = (vouched or bytes(short.public_key)) + (vouch_for or server)
    vouch = Box(PrivateKey(secret or own_secret), theirs).encrypt(proof, b"VOUCH---" + salt).ciphertext
    inside = (public or own_public) + salt + flipped(vouch, vouch_flip) + told
    sealed = Box(short, theirs).encrypt(inside, nonce(b"CurveZMQINITIATE", number)).ciphertext
    return flipped(cookie + struct.pack(">Q", number) + sealed, flip)


class Boxes(Seal):
    """The boxes of a connection, with numbers and contents as one likes."""

    def numbered(self, plain, number, name=b"\x07MESSAGE", flags=0, flip=None):
        sealed = self.box.encrypt(plain, nonce(b"CurveZMQMESSAGEC", number)).ciphertext
        return frame(flipped(name + struct.pack(">Q", number) + sealed, flip), flags)

    def next(self, plain, **how):
        self.sent += 1
        return self.numbered(plain, self.sent, **how)


def greetings():
    """Greetings of a client."""
    for name in (b"NULL", b"PLAIN", b"curve", b"CURVEX", b"CURVE\0X", b""):
        yield Client("mechanism", greeting=greeting(mechanism=name))
    for flag in (1, 2):
        words = "as-server of a client" if flag == 1 else "as-server above 1"
        yield Client(words, greeting=greeting(mechanism=b"CURVE", as_server=flag))
    yield Client(GOOD, greeting=greeting(mechanism=b"CURVE", minor=0))
    yield Client("old version", greeting=greeting(mechanism=b"CURVE", major=2))


def hellos():
    """The first command."""
    for version in (b"\1\1", b"\2\0", b"\0\0"):
        yield Client("HELLO of another version", about_hello={"version": version})
    yield Client("HELLO padding", about_hello={"padding": b"p" * 72})
    for number in (0, 2, 1 << 40, (1 << 64) - 1):
        yield Client("HELLO with another number", about_hello={"number": number})
    yield Client("HELLO with another box", about_hello={"flip": -1})
    yield Client("HELLO whose box holds something else", about_hello={"proof": b"x" * 64})
    yield Client("HELLO with another key", about_hello={"key": bytes(PrivateKey(b"o" * 32).public_key)})
    yield Client("HELLO with a key of low order", about_hello={"key": bytes(32)})
    for name in (b"hello", b"HELLOX", b"INITIATE", b"MESSAGE"):
        yield Client("HELLO by another name", hello=lambda body, name=name: command(name, body))
    yield Client("HELLO of another size", hello=lambda body: command(b"HELLO", body[:-1]))
    yield Client("HELLO of another size", hello=lambda body: command(b"HELLO", body + b"x"))
    yield Client("HELLO of another size", hello=lambda body: command(b"HELLO", b""))
    yield Client("HELLO that is no command", hello=lambda body: frame(b"\x05HELLO" + body))
    yield Client("HELLO with MORE", hello=lambda body: frame(b"\x05HELLO" + body, COMMAND | MORE))
    long = lambda name, body: bytes([COMMAND | LONG]) + struct.pack(">Q", len(name + body)) + name + body
    yield Client("HELLO in a long frame", hello=lambda body: long(b"\x05HELLO", body))
    yield Client("HELLO twice", hello=lambda body: command(b"HELLO", body) * 2)
    yield Client("something else for HELLO", hello=lambda body: ready(b"DEALER"))
    yield Client("something else for HELLO", hello=lambda body: message(b"early"))
    yield Client("something else for HELLO", hello=lambda body: command(b"PING", b"\0\0"))
    yield Client("ERROR for a command", hello=lambda body: command(b"ERROR", b"\x03bad"))
    yield Client("something declared", hello=lambda body: header(1 << 40, COMMAND))


def initiates(peer, other):
    """The second: whose keys, vouched for by whom, and what the peer tells of itself."""
    for at in (0, 15, 16, 95, -1):
        yield Client("INITIATE with a changed byte", about_initiate={"flip": at})
    for number in (0, 1):
        yield Client("INITIATE with an earlier number", about_initiate={"number": number})
    for number in (3, 1 << 40, (1 << 64) - 1):
        yield Client("INITIATE with a later number", about_initiate={"number": number})
    yield Client("vouch of somebody else", about_initiate={"secret": bytes(other)})
    yield Client("vouch with a changed byte", about_initiate={"vouch_flip": 3})
    yield Client("vouch for another key", about_initiate={"vouched": b"v" * 32})
    yield Client("vouch for another server", about_initiate={"vouch_for": b"s" * 32})
    own = {"secret": bytes(other), "public": bytes(other.public_key)}
    yield Client("a key that is not admitted", about_initiate=own)
    for name in (b"initiate", b"INITIATEX", b"HELLO", b"READY"):
        yield Client("INITIATE by another name", initiate=lambda body, name=name: command(name, body))
    yield Client("INITIATE of another size", initiate=lambda body: command(b"INITIATE", body[:-1]))
    yield Client("INITIATE of another size", initiate=lambda body: command(b"INITIATE", body + b"x"))
    yield Client("INITIATE of another size", initiate=lambda body: command(b"INITIATE", body[:200]))
    yield Client("INITIATE that is no command", initiate=lambda body: frame(b"\x08INITIATE" + body))
    yield Client("INITIATE with MORE", initiate=lambda body: frame(b"\x08INITIATE" + body, COMMAND | MORE))
    yield Client("INITIATE twice", initiate=lambda body: command(b"INITIATE", body) * 2)
    yield Client("something else for INITIATE", initiate=lambda body: ready(peer))
    yield Client("something else for INITIATE", initiate=lambda body: message(b"early"))
    yield Client("ERROR for a command", initiate=lambda body: command(b"ERROR", b"\x03bad"))
    told = prop(b"Socket-Type", peer)
    for what, properties_told in (
        ("no socket type", b""),
        ("no socket type", prop(b"Identity", b"only")),
        ("type that may not talk to it", prop(b"Socket-Type", b"PAIR")),
        ("type that is none", prop(b"Socket-Type", b"NONE")),
        ("identity over 255 bytes", told + prop(b"Identity", b"i" * 256)),
        ("identity that starts with zero", told + prop(b"Identity", b"\0zero")),
        ("property twice", told + told),
        ("metadata over its limit", told + prop(b"X-Extra", b"v" * 5_000)),
        ("many properties", b"".join(prop(b"P%d" % i, b"") for i in range(300)) + told),
        ("empty property name", told + prop(b"", b"v")),
        ("property name of other characters", told + prop(b"bad name", b"v")),
        ("property cut short", told + b"\x01x\0\0\0\x09short"),
        (GOOD, told + prop(b"Identity", b"i" * 255)),
        (GOOD, told + prop(b"X-Extra", b"v" * 300)),
    ):
        yield Client(what, told=properties_told)


def lates():
    """What comes in boxes, or not in any."""
    plain = b"\0" + b"some"
    for number in (0, 1, 2):
        yield Client("MESSAGE with an earlier number", late=lambda b, n=number: b.numbered(plain, n))
    yield Client("MESSAGE twice", late=lambda b: b.next(plain) * 2)
    yield Client("MESSAGE with a later number", late=lambda b: b.numbered(plain, b.sent + 100) + skip(b, 100))
    yield Client("MESSAGE with a number before the last one", late=lambda b: b.numbered(plain, 9) + b.numbered(plain, 8))
    yield Client("MESSAGE with the last number", late=lambda b: b.numbered(plain, (1 << 64) - 1))
    for at in (8, 15, 16, -1):
        yield Client("MESSAGE with a changed byte", late=lambda b, at=at: b.next(plain, flip=at))
    yield Client("box of nothing", late=lambda b: b.next(b""))
    yield Client("MESSAGE of another size", late=lambda b: frame(b"\x07MESSAGE" + bytes(8)))
    yield Client("MESSAGE of another size", late=lambda b: frame(b"\x07MESSAGE" + bytes(24)))
    yield Client("MESSAGE of another size", late=lambda b: frame(b"\x07MESS"))
    for name in (b"\x07message", b"\x07MESSAGX", b"\x06MESSAGE"):
        yield Client("MESSAGE by another name", late=lambda b, name=name: b.next(plain, name=name))
    for flags in (4, 8, 0x80):
        yield Client("reserved flag bits in a box", late=lambda b, f=flags: b.next(bytes([f]) + b"some"))
    ping = bytes([4]) + b"PING" + b"\0\0"
    yield Client("command with MORE in a box", late=lambda b: b.next(b"\3" + ping))
    yield Client("MESSAGE that is a command", late=lambda b: b.next(plain, flags=COMMAND))
    yield Client("MESSAGE with MORE", late=lambda b: b.next(plain, flags=MORE))
    yield Client("message in no box", late=lambda b: message(b"plain"))
    yield Client("message in no box", late=lambda b: message(b""))
    yield Client("command in no box", late=lambda b: frame(ping, COMMAND))
    yield Client("command in no box", late=lambda b: command(b"SUBSCRIBE", b"x"))
    yield Client("command in no box", late=lambda b: ready(b"DEALER"))
    yield Client("command in no box", late=lambda b: command(b"ERROR", b"\x03bad"))
    yield Client("HELLO after READY", late=lambda b: command(b"HELLO", b"\1\0" + bytes(192)))
    yield Client("something declared", late=lambda b: header(1 << 40))
    yield Client("something declared", late=lambda b: header((1 << 63) - 1, COMMAND))
    for what, said in (
        (GOOD, command(b"PING", b"\0\x0a" + b"c" * 16)),
        (GOOD, command(b"PONG", b"ctx")),
        (GOOD, command(b"UNKNOWN", b"body")),
        ("PING of another size", command(b"PING", b"\0\x0a" + b"c" * 17)),
        ("PING of another size", command(b"PING", b"\0")),
        ("PONG of another size", command(b"PONG", b"c" * 17)),
        ("READY again", ready(b"DEALER")),
        ("ERROR after READY", command(b"ERROR", b"\x03bad")),
        ("empty command", frame(b"", COMMAND)),
        ("command name over its end", frame(b"\xffX", COMMAND)),
        ("command name of other characters", command(b"bad name", b"body")),
        ("command over its limit", command(b"UNKNOWN", b"b" * (TOPIC + 1_000))),
        ("parts over their limit", message(*[b"p"] * 65)),
        (GOOD, message(*[b"p"] * 64)),
        (GOOD, message(b"x" * 300)),
    ):
        yield Client(what, late=lambda b, said=said: b.close(said))


def changed(seed):
    """A good stream with a byte changed, added or left out in one of what is sent, boxes closed."""
    dice = random.Random(seed)
    command_at = dice.choice(("greeting", "HELLO", "INITIATE", "MESSAGE"))
    how, bit, byte, share = dice.randrange(3), dice.randrange(8), dice.randrange(256), dice.random()

    def change(data):
        at = int(share * len(data))
        put = (bytes([data[at] ^ 1 << bit]), bytes([byte, data[at]]), b"")[how]
        return data[:at] + put + data[at + 1 :]

    what = f"{command_at} changed at random"
    if command_at == "greeting":
        return Client(what, greeting=change(greeting(mechanism=b"CURVE")))
    if command_at == "MESSAGE":
        return Client(what, late=lambda b: change(b.next(b"\0some")))
    return Client(what, **{command_at.lower(): lambda body: change(command(command_at.encode(), body))})


def skip(boxes, count):
    """So many numbers are not used."""
    boxes.sent += count
    return b""


def all_of(peer, other, seed, count):
    """Every stream of a client of a type, `count` of them by chance; `other` is a key that nobody knows."""
    yield Client()
    yield from greetings()
    yield from hellos()
    yield from initiates(peer, other)
    yield from lates()
    yield from (changed(seed + number) for number in range(count))


def request(kind, mark, boxes):
    """What a listener is asked for at the end, in boxes."""
    return boxes.close(asked(kind, mark))


def told_by(client, peer):
    """What the peer tells of itself."""
    return properties(peer) if client.told is None else client.told
