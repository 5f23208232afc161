"""A Majordomo worker, written from RFC 7 alone: `mdworker.py BROKER SERVICE`. An echo.

A DEALER socket; READY first, heartbeats every 2.5 s while it waits, a fresh connection when the broker
was silent for three of them.
"""

import sys
import time

import zmq

WORKER = b"MDPW01"
READY, REQUEST, REPLY, HEARTBEAT, DISCONNECT = b"\x01", b"\x02", b"\x03", b"\x04", b"\x05"
BEAT_S = 2.5
LIVES = 3


class Worker:
    def __init__(self, broker, service):
        self.context, self.broker, self.service = zmq.Context(), broker, service
        self.poller, self.socket, self.client = zmq.Poller(), None, None
        self.connect()

    def connect(self):
        if self.socket:
            self.poller.unregister(self.socket)
            self.socket.close()
        self.socket = self.context.socket(zmq.DEALER)
        self.socket.linger = 0
        self.socket.connect(self.broker)
        self.poller.register(self.socket, zmq.POLLIN)
        self.say(READY, [self.service])
        self.lives, self.beat_at = LIVES, time.monotonic() + BEAT_S
        print("ready", flush=True)

    def say(self, command, frames=()):
        self.socket.send_multipart([b"", WORKER, command, *frames])

    def next(self, reply):
        if reply is not None:
            self.say(REPLY, [self.client, b"", *reply])
        while True:
            if self.poller.poll(BEAT_S * 1000):
                empty, header, command, *frames = self.socket.recv_multipart()
                assert empty == b"" and header == WORKER
                self.lives = LIVES
                if command == REQUEST:
                    self.client, empty, *body = frames
                    assert empty == b""
                    return body
                if command == DISCONNECT:
                    self.connect()
                else:
                    assert command == HEARTBEAT, command
            else:
                self.lives -= 1
                if self.lives == 0:
                    time.sleep(1)
                    self.connect()
            if time.monotonic() > self.beat_at:
                self.say(HEARTBEAT)
                self.beat_at = time.monotonic() + BEAT_S


def main():
    worker, reply = Worker(sys.argv[1], sys.argv[2].encode()), None
    while True:
        reply = worker.next(reply)


main()
