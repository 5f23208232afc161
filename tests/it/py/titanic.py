"""A client of Titanic, written from RFC 9 over a Majordomo client: `titanic.py ENDPOINT VERB ...`.

`request SERVICE COUNT` leaves requests and prints their UUIDs, `replies FILE` asks for the answers to those
in a file, `close FILE` closes them; the last two print each status and how often it came."""
import collections
import sys

import zmq

context = zmq.Context()


def ask(service, *body):
    """A request by Majordomo; the broker may be away for a while."""
    for _ in range(100):
        socket = context.socket(zmq.REQ)
        socket.linger = 0
        socket.connect(sys.argv[1])
        socket.send_multipart([b"MDPC01", service, *body])
        if socket.poll(1000):
            header, name, *reply = socket.recv_multipart()
            assert (header, name) == (b"MDPC01", service), (header, name)
            socket.close()
            return reply
        socket.close()
    raise SystemExit("nobody answers")


def each(service):
    seen = collections.Counter()
    for line in open(sys.argv[3]):
        uuid, expected = line.split()
        status, *body = ask(service, uuid.encode())
        status = status.split(b" ")[0].decode()
        if service == b"titanic.reply" and status == "200":
            assert body == [expected.encode(), b"more"], body
        seen[status] += 1
    for status, count in sorted(seen.items()):
        print(status, count)


if sys.argv[2] == "request":
    for number in range(int(sys.argv[4])):
        text = b"request-%d" % number
        status, uuid = ask(b"titanic.request", sys.argv[3].encode(), text, b"more")
        assert status.startswith(b"200") and len(uuid) == 32, (status, uuid)
        int(uuid, 16)
        print(uuid.decode(), text.decode())
else:
    each({"replies": b"titanic.reply", "close": b"titanic.close"}[sys.argv[2]])
