import os, zmq
readings = zmq.Context().socket(zmq.SUB)
readings.connect(os.environ["ZMQNET_READINGS_ENDPOINT"])
for topic in os.environ["ZMQNET_READINGS_TOPICS"].split():
    readings.subscribe(topic)
for _ in range(20):
    room, reading = readings.recv_multipart()
print(f"20 readings of the {room.decode()}", flush=True)
while True:
    readings.recv_multipart()
