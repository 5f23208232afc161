import os
import zmq

asked = zmq.Context().socket(zmq.REQ)
asked.connect(os.environ["ZMQNET_ASKED_ENDPOINT"])
for number in range(200):
    article = b"article %d" % (number % 10)
    asked.send(article)
    assert asked.recv() == b"the price of " + article
print("200 prices", flush=True)
