import os, sys, zmq
count = int(sys.argv[1])
squares = zmq.Context().socket(zmq.PULL)
squares.bind(os.environ["ZMQNET_SQUARES_ENDPOINT"])
total = sum(int(squares.recv()) for _ in range(count))
print(f"{count} squares, sum {total}", flush=True)
