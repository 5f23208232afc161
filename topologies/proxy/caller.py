import os
import zmq

numbers = zmq.Context().socket(zmq.REQ)
numbers.connect(os.environ["ZMQNET_NUMBERS_ENDPOINT"])
total = 0
for number in range(100):
    numbers.send(str(number).encode())
    total += int(numbers.recv())
print("the squares of 0 to 99 sum up to", total, flush=True)
