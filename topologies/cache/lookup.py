import os
import time
import zmq

looked = zmq.Context().socket(zmq.REP)
looked.bind(os.environ["ZMQNET_LOOKED_ENDPOINT"])
for count in range(1, 1_000_000):
    article = looked.recv()
    time.sleep(0.05)
    print(count, "looked up", article.decode(), flush=True)
    looked.send(b"the price of " + article)
