"""A queue under fire: `fire.py FRONT BACK WORKERS TASKS SECONDS`.

Plain REP workers are killed with -9 and stopped at random; clients ask for TASKS tasks in all, each a
different text, and are killed too. Prints how many tasks were answered, how many are unanswered though
their client lived, and how many answers were wrong.
"""

import json
import multiprocessing
import os
import random
import signal
import sys
import time

import zmq

front, back = sys.argv[1], sys.argv[2]
workers, tasks, seconds = (int(text) for text in sys.argv[3:6])


def work():
    socket = zmq.Context().socket(zmq.REP)
    socket.connect(back)
    while True:
        task = socket.recv()
        socket.send(task[::-1])


def ask(first, count, counts):
    """Asks for tasks FIRST to FIRST + COUNT; a request is one task, however long it takes."""
    socket = zmq.Context().socket(zmq.REQ)
    socket.connect(front)
    for number in range(first, first + count):
        task = f"task {number}".encode()
        socket.send(task)
        if not socket.poll(60_000):
            return
        counts[0 if socket.recv() == task[::-1] else 1] += 1


def main():
    context = multiprocessing.get_context("fork")
    start = lambda target, *args: (lambda p: (p.start(), p)[1])(
        context.Process(target=target, args=args, daemon=True)
    )
    at_work = [start(work) for _ in range(workers)]
    clients, each = 8, tasks // 8
    counts = [context.Array("l", 2) for _ in range(clients)]
    asking = [start(ask, n * each, each, counts[n]) for n in range(clients)]
    victim = start(ask, tasks, tasks, context.Array("l", 2))
    begun, stopped = time.monotonic(), []
    kills = 0
    while any(client.is_alive() for client in asking):
        time.sleep(0.05)
        for process, until in stopped[:]:
            if time.monotonic() > until:
                stopped.remove((process, until))
                if process.is_alive():
                    os.kill(process.pid, signal.SIGCONT)
        if time.monotonic() - begun > seconds:
            continue
        place = random.randrange(workers)
        if random.random() < 0.2:
            os.kill(at_work[place].pid, signal.SIGSTOP)
            stopped.append((at_work[place], time.monotonic() + random.uniform(0.1, 2.5)))
        else:
            at_work[place].kill()
            at_work[place].join()
            at_work[place] = start(work)
            kills += 1
        if random.random() < 0.1:
            victim.kill()
            victim.join()
            victim = start(ask, tasks, tasks, context.Array("l", 2))
    answered = sum(array[0] for array in counts)
    wrong = sum(array[1] for array in counts)
    took = time.monotonic() - begun
    victim.kill()
    for process, _ in stopped:
        if process.is_alive():
            os.kill(process.pid, signal.SIGCONT)
    # What the victims asked for is done by those who are left.
    time.sleep(0.5)
    print(
        json.dumps(
            {
                "answered": answered,
                "unanswered": each * clients - answered - wrong,
                "wrong": wrong,
                "kills": kills,
                "seconds": round(took, 1),
            }
        ),
        flush=True,
    )
    deadline = time.monotonic() + 20
    ask_status = zmq.Context().socket(zmq.REQ)
    ask_status.connect(front)
    while time.monotonic() < deadline:
        ask_status.send_multipart([b"ZN1", b"status", b"1"])
        facts = json.loads(ask_status.recv_multipart()[3])["facts"]
        if facts["queued"] == 0 and facts["leased"] == 0:
            break
        time.sleep(0.1)
    for process in at_work:
        process.kill()
    sys.exit(wrong != 0)


main()
