import json
import os
import zmq

params = zmq.Context().socket(zmq.REQ)
params.connect(os.environ["ZMQNET_SETTINGS_ENDPOINT"])
for number in range(100):
    for room in ("kitchen", "cellar"):
        key = json.dumps({"key": f"/lamp/{room}"}).encode()
        params.send_multipart([b"ZN1", b"set", b"", key, str(number).encode()])
        assert params.recv_multipart()[1] == b"200"
print("200 writes, each synced", flush=True)
