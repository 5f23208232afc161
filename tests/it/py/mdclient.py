"""A Majordomo client, written from RFC 7 alone: `mdclient.py BROKER SERVICE COUNT [async]`.

Synchronous: a REQ socket, with a fresh one after each timeout, three times. Asynchronous: a DEALER that
sends all requests first. Prints how many replies came.
"""

import sys

import zmq

CLIENT = b"MDPC01"
TIMEOUT_MS = 2500
RETRIES = 3


class Client:
    def __init__(self, broker, kind):
        self.context, self.broker, self.kind = zmq.Context(), broker, kind
        self.poller, self.socket = zmq.Poller(), None
        self.connect()

    def connect(self):
        if self.socket:
            self.poller.unregister(self.socket)
            self.socket.close()
        self.socket = self.context.socket(self.kind)
        self.socket.linger = 0
        self.socket.connect(self.broker)
        self.poller.register(self.socket, zmq.POLLIN)

    def ask(self, service, body):
        for _ in range(RETRIES):
            self.socket.send_multipart([CLIENT, service, *body])
            if self.poller.poll(TIMEOUT_MS):
                header, replied, *reply = self.socket.recv_multipart()
                assert header == CLIENT and replied == service, (header, replied)
                return reply
            self.connect()
        return None

    def send(self, service, body):
        self.socket.send_multipart([b"", CLIENT, service, *body])

    def receive(self):
        if not self.poller.poll(TIMEOUT_MS):
            return None
        empty, header, _service, *reply = self.socket.recv_multipart()
        assert empty == b"" and header == CLIENT
        return reply


def main():
    broker, service, count = sys.argv[1], sys.argv[2].encode(), int(sys.argv[3])
    replies = 0
    if sys.argv[4:] == ["async"]:
        client = Client(broker, zmq.DEALER)
        for number in range(count):
            client.send(service, [b"Hello", str(number).encode()])
        while replies < count and client.receive():
            replies += 1
    else:
        client = Client(broker, zmq.REQ)
        for number in range(count):
            body = [b"Hello", str(number).encode()]
            replies += client.ask(service, body) == body
    print(f"{replies} of {count} replies", flush=True)


main()
