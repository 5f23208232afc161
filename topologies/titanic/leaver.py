import os
import zmq

jobs = zmq.Context().socket(zmq.REQ)
jobs.connect(os.environ["ZMQNET_SQUARES_ENDPOINT"])
with open("titanic/data/requests", "w") as kept:
    for number in range(100):
        jobs.send_multipart([b"MDPC01", b"titanic.request", b"squares", b"%d" % number])
        status, uuid = jobs.recv_multipart()[2:]
        assert status == b"200", status
        print(uuid.decode(), file=kept)
print("100 requests left", flush=True)
