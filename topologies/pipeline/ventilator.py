import sys, zmq
endpoint, count = sys.argv[1], int(sys.argv[2])
out = zmq.Context().socket(zmq.PUSH)
out.bind(endpoint)
for number in range(count):
    out.send(str(number).encode())
print(f"{count} numbers handed out", flush=True)
