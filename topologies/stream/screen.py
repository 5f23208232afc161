"""Shows what is sold, as it is stored."""
import os

import zmq

live = zmq.Context().socket(zmq.SUB)
live.connect(os.environ["ZMQNET_LIVE_ENDPOINT"])
live.subscribe(os.environ["ZMQNET_LIVE_TOPICS"])
sold = 0
while True:
    event, offset = live.recv_multipart()
    if event == b"sold out":
        print(sold, "apples are sold", flush=True)
        sold = 0
    else:
        sold += 1
