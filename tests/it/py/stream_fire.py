"""Appends and reads while the stream is killed again and again; at the end everything must be right.

No acknowledged record is lost, none is there twice, no offset is used again, nothing that was read
vanishes or changes, and each writer's records are in its order."""
import hashlib
import json
import os
import random
import sys
import threading

from asker import Asker

ENDPOINT, STOP, SEED = sys.argv[1], sys.argv[2], int(sys.argv[3])
WRITERS = 3


def digest(data):
    return hashlib.blake2b(data, digest_size=8).hexdigest()


def write(number, acked):
    rng, asker, sequence = random.Random(SEED * 10 + number), Asker(ENDPOINT), 0
    while not os.path.exists(STOP):
        sequence += 1
        count = rng.randrange(1, 4)
        body = [
            b"%d %d %d " % (number, sequence, at) + rng.randbytes(rng.choice([10, 1_000, 40_000]))
            for at in range(count)
        ]
        params = {"producer": "writer %d" % number, "sequence": sequence}
        status, result, _ = asker.ask(b"append", params, *body)
        assert status == 200 and result["count"] == count, (status, result)
        for at, data in enumerate(body):
            assert result["offset"] + at not in acked, "an offset is used again"
            acked[result["offset"] + at] = digest(data)


def page(asker, at, seen, wait):
    """Reads on; gives where to go on."""
    status, result, body = asker.ask(b"read", {"from": at, "count": 500, "wait_ms": wait})
    if status == 404 and "start" in result and result["start"] > at:
        return result["start"], True
    assert status == 200, (status, result)
    assert not body or result["offset"] == at, (at, result)
    for offset, data in enumerate(body, result["offset"]):
        assert seen.setdefault(offset, digest(data)) == digest(data), "a record changed"
        names.setdefault(offset, tuple(int(it) for it in data.split(b" ", 3)[:3]))
    return result["next"], bool(body)


names = {}
acked = [{} for _ in range(WRITERS)]
seen = {}
faults = []


def guarded(work, *args):
    def run():
        try:
            work(*args)
        except BaseException as fault:
            faults.append(repr(fault))
            open(STOP, "w").close()
    return threading.Thread(target=run)


def follow():
    asker, at = Asker(ENDPOINT), 0
    while not os.path.exists(STOP):
        at, _ = page(asker, at, seen, 100)


threads = [guarded(write, number, acked[number]) for number in range(WRITERS)] + [guarded(follow)]
for thread in threads:
    thread.start()
for thread in threads:
    thread.join()
assert not faults, faults
asker, final = Asker(ENDPOINT), {}
status, result, _ = asker.ask(b"read", {"count": 0})
start, at = result["start"], result["start"]
while True:
    at, has_more = page(asker, at, final, 0)
    if not has_more:
        break
written = {}
for each in acked:
    assert not set(written) & set(each), "an offset was given to two"
    written.update(each)
start = min(final, default=0)
lost = [offset for offset in written if offset >= start and final.get(offset) != written[offset]]
assert not lost, ("lost", lost[:5])
gone = [offset for offset in seen if offset >= start and final.get(offset) != seen[offset]]
assert not gone, ("vanished", gone[:5])
assert sorted(final) == list(range(start, start + len(final))), "a gap"
last = {}
for offset in sorted(names):
    number, sequence, place = names[offset]
    assert (sequence, place) > last.get(number, (0, 0)), ("order", offset)
    last[number] = (sequence, place)
print(json.dumps({"acked": len(written), "read": len(seen), "kept": len(final), "start": start}))
