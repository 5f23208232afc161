import os
import zmq

squares = zmq.Context().socket(zmq.REQ)
squares.connect(os.environ["ZMQNET_SQUARES_ENDPOINT"])
total = 0
for number in range(300):
    squares.send(str(number).encode())
    total += int(squares.recv())
print("300 tasks, sum", total, flush=True)
