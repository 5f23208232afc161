import os, zmq
context = zmq.Context()
out = context.socket(zmq.PUB); out.bind(os.environ["ZMQNET_PINGS_ENDPOINT"])
back = context.socket(zmq.SUB); back.connect(os.environ["ZMQNET_PONGS_ENDPOINT"])
back.subscribe(os.environ["ZMQNET_PONGS_TOPICS"])
for count in range(100):
    out.send_multipart([b"ping", str(count).encode()])
    while not back.poll(100):  # the subscriber may still be joining: ask again
        out.send_multipart([b"ping", str(count).encode()])
    back.recv_multipart()
print("100 round trips", flush=True)
