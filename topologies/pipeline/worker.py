import os, zmq
context = zmq.Context()
numbers = context.socket(zmq.PULL); numbers.connect(os.environ["ZMQNET_NUMBERS_ENDPOINT"])
squares = context.socket(zmq.PUSH); squares.connect(os.environ["ZMQNET_SQUARES_ENDPOINT"])
while True:
    number = int(numbers.recv())
    squares.send(str(number * number).encode())
