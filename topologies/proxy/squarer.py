import os
import zmq

squares = zmq.Context().socket(zmq.REP)
squares.bind(os.environ["ZMQNET_SQUARES_ENDPOINT"])
while True:
    number = int(squares.recv())
    squares.send(str(number * number).encode())
