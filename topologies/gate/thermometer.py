import os, time, zmq
readings = zmq.Context().socket(zmq.PUB)
readings.bind(os.environ["ZMQNET_READINGS_ENDPOINT"])
count = 0
while True:
    for room in ("kitchen", "cellar"):
        readings.send_multipart([room.encode(), f"{18 + count % 5} degrees".encode()])
    count += 1
    time.sleep(0.1)
