import os
import time
import zmq

squares = zmq.Context().socket(zmq.REP)
squares.bind(os.environ["ZMQNET_SQUARES_ENDPOINT"])
while True:
    number = int(squares.recv())
    time.sleep(0.02)
    squares.send(str(number * number).encode())
