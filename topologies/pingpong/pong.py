import os, zmq
context = zmq.Context()
out = context.socket(zmq.PUB); out.bind(os.environ["ZMQNET_PONGS_ENDPOINT"])
pings = context.socket(zmq.SUB); pings.connect(os.environ["ZMQNET_PINGS_ENDPOINT"])
pings.subscribe(os.environ["ZMQNET_PINGS_TOPICS"])
while True:
    topic, count = pings.recv_multipart()
    out.send_multipart([b"pong", count])
