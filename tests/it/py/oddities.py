"""What is unusual about a stream of bytes: the first thing that is not as the protocol or our limits have it."""

import struct
from collections import Counter

from streams import LIMIT, PEERS, PUBLISHING, SUBSCRIPTIONS, TOPIC
from zmtp import COMMAND, LONG, MORE, greeting, ready

NAME = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
MAY = {
    "ROUTER": (b"REQ", b"DEALER", b"ROUTER"),
    "REP": (b"REQ", b"DEALER"),
    "DEALER": (b"REP", b"DEALER", b"ROUTER"),
    "PULL": (b"PUSH",),
    "SUB": (b"PUB", b"XPUB"),
    "XSUB": (b"PUB", b"XPUB"),
    "PUB": (b"SUB", b"XSUB"),
    "XPUB": (b"SUB", b"XSUB"),
}


class Subscribed:
    """What a peer of a publisher is subscribed to, and what is unusual about how."""

    def __init__(self):
        self.topics = Counter()
        self.twice = set()

    def message(self, parts):
        if not any(part[:1] in (b"\0", b"\1") for part in parts):
            return "message that is no subscription"
        if len(parts) > 1:
            return "subscription in several parts"
        return self.change(parts[0][:1] == b"\1", parts[0][1:])

    def change(self, is_on, topic):
        if len(topic) > TOPIC:
            return "topic over its limit"
        if not is_on:
            if topic in self.twice:
                return "subscribed twice, cancelled"
            if not self.topics[topic]:
                return "cancel of what is not subscribed to"
            self.topics[topic] -= 1
            return None
        if self.topics[topic]:
            self.twice.add(topic)
        elif sum(1 for count in self.topics.values() if count) >= SUBSCRIPTIONS:
            return "subscriptions over their limit"
        self.topics[topic] += 1
        return None


def unusual(kind, opening, later):
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
    at, is_first, parts, strange = 64, True, [], None
    subscribed = Subscribed() if kind in PUBLISHING else None
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
            if kind == "PUB" and size > TOPIC + 10:
                return strange or "message over the limit of a topic"
            parts.append(body)
            if len(parts) > 64:
                return "parts over their limit"
        if not is_whole:
            return strange or "cut short"
        if flags & COMMAND:
            found = odd_first(kind, body) if is_first else odd_command(body, subscribed)
            found = "subscription inside a message" if subscribed and parts else found
            strange = strange or found
            is_first = False
        else:
            if subscribed and not flags & MORE:
                strange = strange or subscribed.message(parts)
            parts = parts if flags & MORE else []
        at = start + size
    if opening.startswith(greeting() + ready(PEERS[kind])) and len(opening) > 64 + len(ready(PEERS[kind])):
        return "message before our READY"
    return strange or ("nothing" if not is_first and not parts else "cut short")


def odd_first(kind, body):
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
    peer = seen.get(b"socket-type")
    if peer is None:
        return "no socket type"
    if peer not in MAY[kind]:
        return "socket type that may not"
    return None


def odd_command(body, subscribed):
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
    if subscribed and name in (b"SUBSCRIBE", b"CANCEL"):
        return subscribed.change(name == b"SUBSCRIBE", rest)
    if name not in (b"PING", b"PONG"):
        return "command without a meaning"
    return None


