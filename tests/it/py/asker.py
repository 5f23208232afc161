"""Asks a store by ZN1, through all its deaths."""
import json
import time

import zmq

CONTEXT = zmq.Context()


class Asker:
    """Asks until it is answered; what was asked may be asked again."""

    def __init__(self, endpoint):
        self.endpoint, self.socket = endpoint, None

    def ask(self, verb, params, *body):
        deadline = time.monotonic() + 60
        while time.monotonic() < deadline:
            if self.socket is None:
                self.socket = CONTEXT.socket(zmq.REQ)
                self.socket.linger = 0
                self.socket.setsockopt(zmq.RECONNECT_IVL, 10)
                self.socket.connect(self.endpoint)
            self.socket.send_multipart([b"ZN1", verb, b"1", json.dumps(params).encode(), *body])
            if self.socket.poll(500):
                _, status, _, result, *frames = self.socket.recv_multipart()
                if status != b"503":
                    return int(status), json.loads(result), frames
                time.sleep(0.01)
                continue
            self.socket.close()
            self.socket = None
        raise SystemExit("nobody answered for a minute")
