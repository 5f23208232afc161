"""Puts, reads and pops while the spool is killed again and again; at the end everything must be right.

No message that was acknowledged is lost but by a pop, none that a pop took comes back, no offset is used
again, nothing that was read changes, and each writer's messages are in their order."""
import hashlib
import json
import os
import random
import sys
import threading
import time

from asker import Asker

ENDPOINT, STOP, SEED = sys.argv[1], sys.argv[2], int(sys.argv[3])
WRITERS = 3


def digest(frames):
    return hashlib.blake2b(b"\0".join(frames), digest_size=8).hexdigest()


def name(frames):
    return tuple(int(it) for it in frames[0].split())


def messages(result, body):
    at = 0
    for offset, count in enumerate(result["parts"], result["offset"]):
        yield offset, body[at:at + count]
        at += count


def write(number, mine):
    rng, asker, sequence = random.Random(SEED * 10 + number), Asker(ENDPOINT), 0
    while not os.path.exists(STOP):
        if sum(map(len, acked)) - popped[0] > 300:
            time.sleep(0.01)  # What waits must stay far below `retain`.
            continue
        sequence += 1
        count = rng.randrange(1, 4)
        all = [
            [b"%d %d %d" % (number, sequence, at), rng.randbytes(rng.choice([10, 1_000, 40_000]))]
            for at in range(count)
        ]
        params = {"parts": [2] * count, "once": "%d %d %d" % (SEED, number, sequence)}
        status, result, _ = asker.ask(b"put", params, *[frame for it in all for frame in it])
        assert status == 200 and result["count"] == count, (status, result)
        for at, frames in enumerate(all):
            assert result["offset"] + at not in mine, "an offset is used again"
            mine[result["offset"] + at] = (name(frames), digest(frames))


def see(result, body, seen):
    for offset, frames in messages(result, body):
        it = (name(frames), digest(frames))
        assert seen.setdefault(offset, it) == it, "a message changed"


popped = [-1]
given = {}


def consume():
    """Pops what it was given, sometimes several at once, and asks for some once more."""
    rng, asker = random.Random(SEED), Asker(ENDPOINT)
    while not os.path.exists(STOP):
        params = {"count": rng.randrange(1, 20), "wait_ms": 100}
        status, result, body = asker.ask(b"front", params)
        if status == 404:
            continue
        assert status == 200, (status, result)
        assert result["offset"] == popped[0] + 1, ("came back or lost", result["offset"], popped[0])
        see(result, body, given)
        # Behind the writers, so that the disk is read too.
        if rng.random() < 0.6:
            last = result["next"] - 1
            status, told, _ = asker.ask(b"pop", {"offset": last})
            assert status == 200, (status, told)
            popped[0] = last


acked = [{} for _ in range(WRITERS)]
faults = []


def guarded(work, *args):
    def run():
        try:
            work(*args)
        except BaseException as fault:
            faults.append(repr(fault))
            open(STOP, "w").close()
    return threading.Thread(target=run)


threads = [guarded(write, number, acked[number]) for number in range(WRITERS)] + [guarded(consume)]
for thread in threads:
    thread.start()
for thread in threads:
    thread.join()
assert not faults, faults
asker, final, at = Asker(ENDPOINT), dict(given), None
while True:
    status, result, body = asker.ask(b"peek", {} if at is None else {"from": at})
    assert status == 200, (status, result)
    if at is None:
        assert result["offset"] == popped[0] + 1, (result["offset"], popped[0])
    see(result, body, final)
    if not result["parts"]:
        break
    at = result["next"]
written = {}
for each in acked:
    assert not set(written) & set(each), "an offset was given to two"
    written.update(each)
lost = [offset for offset in written if final.get(offset) != written[offset]]
assert not lost, ("lost", lost[:5])
assert sorted(final) == list(range(len(final))), "a gap"
last = {}
for offset in sorted(final):
    (number, sequence, place), _ = final[offset]
    assert (sequence, place) > last.get(number, (0, 0)) or last.get(number) is None, ("order", offset)
    last[number] = (sequence, place)
told = asker.ask(b"len", {})[1]
assert told["length"] == len(final) - popped[0] - 1, told
if told["length"] == 0:
    assert told["bytes"] == 0, told
print(json.dumps({"acked": len(written), "popped": popped[0] + 1, "kept": told["length"]}))
