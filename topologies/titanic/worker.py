import os
import zmq

tasks = zmq.Context().socket(zmq.REP)
tasks.connect(os.environ["ZMQNET_SQUARES_ENDPOINT"])
while True:
    number = int(tasks.recv())
    tasks.send(str(number * number).encode())
