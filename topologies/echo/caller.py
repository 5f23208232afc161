import os
import zmq

calls = zmq.Context().socket(zmq.REQ)
calls.connect(os.environ["ZMQNET_CALLS_ENDPOINT"])
for number in range(100):
    request = [b"call", str(number).encode()]
    calls.send_multipart(request)
    assert calls.recv_multipart() == request
print("100 requests came back", flush=True)
