"""Uses a queue that is killed again and again: `queue_store_fire.py FRONT BACK TASKS SEED`.

Clients submit tasks by ZN1, each asked again by its id until it is answered; workers take them by ZN1, do
them, and say so until they are answered; a plain REP worker and REQ clients are there too, who ask again as
new tasks. At the end nothing that was acknowledged is lost, nothing that was confirmed as done was given
again, and no task had two live leases by `take`."""
import json
import random
import sys
import threading
import time

import zmq

FRONT, BACK, TASKS, SEED = sys.argv[1], sys.argv[2], int(sys.argv[3]), int(sys.argv[4])
CONTEXT = zmq.Context()
LEASE_MS = 1500
LOCK = threading.Lock()
accepted, done, faults = {}, {}, []
leases, tokens = {}, set()
plain = [0]
over = threading.Event()


class Asker:
    def __init__(self):
        self.socket = None

    def close(self):
        if self.socket is not None:
            self.socket.close(0)
        self.socket = None

    def ask(self, verb, params, *body, wait=400, lost=lambda: None):
        """One question; nothing where nobody answered."""
        if self.socket is None:
            self.socket = CONTEXT.socket(zmq.REQ)
            self.socket.linger = 0
            self.socket.setsockopt(zmq.RECONNECT_IVL, 10)
            self.socket.connect(FRONT)
        self.socket.send_multipart([b"ZN1", verb, b"1", json.dumps(params).encode(), *body])
        if not self.socket.poll(wait):
            # What a connection has is another's when it is closed.
            lost()
            self.close()
            return None, {}, []
        _, status, _, result, *frames = self.socket.recv_multipart()
        return int(status), json.loads(result or b"null"), frames


def submit(number):
    rng, asker = random.Random(SEED * 100 + number), Asker()
    for at in range(TASKS // 3):
        task = "%d-%d" % (number, at)
        params = {"service": "mail", "id": task, "priority": rng.randrange(3)}
        while True:
            status, result, _ = asker.ask(b"submit", params, task.encode() * rng.choice([1, 2000]))
            if status == 200:
                assert result["task"] == task
                with LOCK:
                    accepted[task] = True
                break
            assert status in (None, 429, 503), (status, result)
            time.sleep(0.01)


def work(number):
    rng, asker = random.Random(SEED * 100 + 50 + number), Asker()
    while not over.is_set():
        asked = time.monotonic()
        params = {"service": "mail", "lease_ms": LEASE_MS, "wait_ms": 50}
        status, result, body = asker.ask(b"take", params)
        if status != 200:
            # Its answer may be on the way: a connection that is closed has no lease.
            time.sleep(0.01)
            continue
        task, token = result["task"], result["token"]
        with LOCK:
            assert token not in tokens, "a token is given twice"
            tokens.add(token)
            assert task not in done, ("given again after it was done", task)
            holder = leases.get(task)
            assert holder is None or holder < time.monotonic(), ("two live leases", task)
            # It counted from after it was asked for, so that it lives at least so long.
            leases[task] = asked + LEASE_MS / 1000
        assert body[0].startswith(task.encode())
        def lost():
            with LOCK:
                leases.pop(task, None)

        if rng.random() < 0.1:
            lost()
            asker.ask(b"fail", {"token": token, "kind": "test"})
            continue
        until = time.monotonic() + LEASE_MS / 1000
        while time.monotonic() < until:
            status, _, _ = asker.ask(b"done", {"token": token}, task.encode(), lost=lost)
            if status == 200:
                with LOCK:
                    assert task not in done, ("done twice", task)
                    done[task] = token
                break
            if status == 409:
                # An earlier try was stored, and its answer lost with the queue; or its lease went with
                # the connection.
                lost()
                break


def answer():
    """A plain REP worker."""
    socket = CONTEXT.socket(zmq.REP)
    socket.linger = 0
    socket.setsockopt(zmq.RECONNECT_IVL, 10)
    socket.connect(BACK)
    while not over.is_set():
        if socket.poll(50):
            socket.send(socket.recv()[::-1])


def ask():
    """A plain REQ client."""
    for number in range(TASKS // 3):
        text = b"plain %d" % number
        while True:
            socket = CONTEXT.socket(zmq.REQ)
            socket.linger = 0
            socket.setsockopt(zmq.RECONNECT_IVL, 10)
            socket.connect(FRONT)
            socket.send(text)
            got = socket.recv() if socket.poll(700) else None
            socket.close()
            if got is not None:
                assert got == text[::-1], got
                plain[0] += 1
                break


def guarded(run, *args):
    def inner():
        try:
            run(*args)
        except BaseException as fault:
            faults.append(repr(fault))
            over.set()
    return threading.Thread(target=inner, daemon=True)


clients = [guarded(submit, number) for number in range(3)] + [guarded(ask)]
workers = [guarded(work, number) for number in range(3)] + [guarded(answer)]
for thread in clients + workers:
    thread.start()
for thread in clients:
    thread.join()
asker, deadline = Asker(), time.monotonic() + 25
while time.monotonic() < deadline and not faults:
    status, result, _ = asker.ask(b"ls", {})
    if status == 200 and result["counters"]["queued"] == 0 and result["counters"]["leased"] == 0:
        break
    time.sleep(0.05)
over.set()
for thread in workers:
    thread.join()
assert not faults, faults
counters = result["counters"]
assert counters["accepted"] == counters["done"] + counters["dead"] + counters["queued"] + counters["leased"]
assert counters["queued"] == counters["leased"] == 0, counters
# Each task that was acknowledged was done once: its answer is known by its id.
for task in accepted:
    while True:
        status, result, body = asker.ask(b"submit", {"service": "mail", "id": task, "wait": True})
        if status is not None and status != 503:
            break
        time.sleep(0.01)
    assert status == 200 and body == [task.encode()], (task, status, result)
print(json.dumps({"accepted": len(accepted), "confirmed": len(done), "plain": plain[0], "counters": counters}))
