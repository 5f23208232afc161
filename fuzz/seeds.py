#!/usr/bin/env python3
"""Writes the seeds of the fuzz targets: small inputs that reach deep, each made of what it is about."""

import os
import pathlib
import sys

HERE = pathlib.Path(__file__).parent
sys.path.insert(0, str(HERE.parent / "tests/it/py"))
from zmtp import COMMAND, command, frame, greeting, header, message, prop, ready  # noqa: E402


def chunks(*parts):
    return b"".join(bytes([len(part)]) + part for part in parts)


NULL = greeting(minor=0)
SEEDS = {
    "greeting": [
        NULL,
        greeting() + ready(),
        greeting() + ready(b"DEALER", b"name") + message(b"", b"hello"),
        greeting() + ready(b"SUB") + command(b"SUBSCRIBE", b"topic"),
        greeting(mechanism=b"CURVE"),
        greeting(major=2),
        greeting() + command(b"ERROR", b"\x03bad"),
        b"GET / HTTP/1.1\r\n\r\n",
        greeting() + header(1 << 62) + b"x",
    ],
    "commands": [
        b"\x00" + chunks(b"\x02\x00\x05ctx", b"\x03ctx", b"\x04topic", b"\x05topic"),
        b"\x05" + chunks(b"\x04topic", b"\x04other", b"\x05topic"),
        b"\x02" + chunks(b"\x00" + prop(b"Socket-Type", b"DEALER") + prop(b"Identity", b"me")),
        b"\x02" + chunks(b"\x01\x03bad"),
        b"\x03" + chunks(b"\x05READY\x0bSocket-Type\x00\x00\x00\x03SUB"),
    ],
    "frames": [
        b"\x00" + message(b"", b"ZN1", b"ping", b"1"),
        b"\x01" + message(b"one") + command(b"PING", b"\x00\x05ctx"),
        b"\x02" + message(b"\x01topic") + message(b"\x00topic"),
        b"\x04" + command(b"SUBSCRIBE", b"topic") + command(b"CANCEL", b"topic"),
        b"\x00" + header(300) + b"x" * 300,
        b"\x00" + header(1 << 40) + b"x",
        b"\x00" + frame(b"a", 1) * 9,
    ],
    "curve_server": [
        b"\x00" + chunks(prop(b"Identity", b"me"), b"\x00hello", b"\x01part", b"\x00end"),
        b"\x01" + chunks(prop(b"Identity", b"me"), b"\x02\x04PING\x00\x05ctx"),
        b"\x02" + chunks(b"\x01\x00" + b"x" * 192, b"y" * 201),
        b"\x04" + chunks(b""),
        b"\x08" + chunks(prop(b"Socket-Type", b"REQ") + prop(b"Resource", b"x")),
    ],
    "curve_client": [
        b"\x00" + chunks(b"", prop(b"Identity", b"s"), b"\x00hello", b"\x02\x04PING\x00\x05ctx"),
        b"\x01" + chunks(b"w" * 160, b"r" * 25),
        b"\x02" + chunks(b"c" * 95),
        b"\x04" + chunks(b"", prop(b"Socket-Type", b"REP")),
    ],
    "zn1": [
        chunks(b"", b"ZN1", b"status", b"7", b'{"a": [1, 2.5, null]}', b"body"),
        chunks(b"ZN1", b"200", b"7", b"{}"),
        chunks(b"ping", b"7"),
        chunks(b"200", b"7", b'"text"'),
    ],
    "mesh": [
        b"\x12\x05bravo\x1a\x02hi",
        b"\x08\x01\x12\x05alpha\x1a\x03ACK",
        b"\x08\x02\x7a\x01a\x7d\x01\x02\x03\x04",
    ],
    "replica": [
        chunks(b"ZN1", b"status", b"\x011"),
        chunks(b"ZN1", b"send", b"id", b'{"sender": "x"}', b"\x01hi"),
        chunks(b"ZN1", b"drain", b"\x03"),
        chunks(b"\x01\x12\x05bravo\x1a\x02hi"),
        chunks(b"", b"\x01\x08\x01\x12\x05alpha\x1a\x02hi"),
    ],
}


for target, seeds in SEEDS.items():
    folder = HERE / "seeds" / target
    os.makedirs(folder, exist_ok=True)
    for number, seed in enumerate(seeds):
        (folder / f"{number}").write_bytes(seed)
