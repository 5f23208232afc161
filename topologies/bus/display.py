import os, zmq
readings = zmq.Context().socket(zmq.SUB)
readings.connect(os.environ["ZMQNET_READINGS_ENDPOINT"])
for topic in os.environ["ZMQNET_READINGS_TOPICS"].split():
    readings.subscribe(topic)
assert readings.recv_multipart() == [b"welcome"]
seen = [readings.recv_multipart()[0] for _ in range(40)]
print(f"welcome, then 40 readings of {' and '.join(sorted({room.decode() for room in seen}))}", flush=True)
while True:
    readings.recv_multipart()
