#!/usr/bin/env python3
"""redis_pubsub.py PORT SUBSCRIBERS MESSAGES SIZE WINDOW: how many messages Redis delivers in a second.

Raw sockets that count bytes, so that Python is not what is measured. The publisher pipelines a hundred
commands a write and is never more than WINDOW messages ahead of the slowest subscriber.
"""

import multiprocessing
import socket
import sys
import threading
import time

PORT, SUBSCRIBERS, MESSAGES, SIZE, WINDOW = (int(word) for word in sys.argv[1:])
BATCH = 100
ADDRESS = ("127.0.0.1", PORT)


class Subscriber:
    """A process that counts what it is sent."""

    def __init__(self):
        self.got = multiprocessing.Value("l", 0, lock=False)
        self.is_ready = multiprocessing.Event()
        self.ended = multiprocessing.Value("d", 0.0, lock=False)
        self.process = multiprocessing.Process(target=self.count, daemon=True)
        self.process.start()

    def count(self):
        header = len(b"*3\r\n$7\r\nmessage\r\n$1\r\nt\r\n$%d\r\n" % SIZE)
        each = header + SIZE + 2
        buffer = bytearray(1 << 20)
        with socket.create_connection(ADDRESS) as stream:
            stream.sendall(b"SUBSCRIBE t\r\n")
            stream.recv(4096)
            self.is_ready.set()
            read = 0
            while read < MESSAGES * each:
                read += stream.recv_into(buffer)
                self.got.value = read // each
        self.ended.value = time.monotonic()


def main():
    subscribers = [Subscriber() for _ in range(SUBSCRIBERS)]
    for subscriber in subscribers:
        subscriber.is_ready.wait(10)
    command = b"*3\r\n$7\r\nPUBLISH\r\n$1\r\nt\r\n$%d\r\n" % SIZE + b"x" * SIZE + b"\r\n"
    with socket.create_connection(ADDRESS) as publisher:
        replies = threading.Thread(target=lambda: all(iter(lambda: publisher.recv(1 << 16), b"")), daemon=True)
        replies.start()
        start = time.monotonic()
        for sent in range(0, MESSAGES, BATCH):
            while sent + BATCH - min(one.got.value for one in subscribers) > WINDOW:
                time.sleep(0.0001)
            publisher.sendall(command * BATCH)
        for subscriber in subscribers:
            subscriber.process.join(60)
    took = max(one.ended.value for one in subscribers) - start
    print(f"pub_msg_s={MESSAGES / took:.0f} delivered_msg_s={MESSAGES * SUBSCRIBERS / took:.0f}")


main()
