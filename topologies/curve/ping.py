import json, os, zmq

keys = json.load(open(os.environ["ZMQNET_KEYS"]))
socket = zmq.Context().socket(zmq.REQ)
socket.curve_publickey, socket.curve_secretkey = keys["public"].encode(), keys["secret"].encode()
for endpoint, key in keys["sockets"]["PINGS"]["servers"].items():
    socket.curve_serverkey = key.encode()
    socket.connect(endpoint)

for number in range(100):
    socket.send(b"ping")
    assert socket.recv() == b"pong"
print("100 encrypted round trips", flush=True)
