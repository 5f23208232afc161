import os, sys, time, zmq
readings = zmq.Context().socket(zmq.PUB)
readings.connect(os.environ["ZMQNET_READINGS_ENDPOINT"])
count = 0
while True:
    readings.send_multipart([sys.argv[1].encode(), f"{18 + count % 5} degrees".encode()])
    count += 1
    time.sleep(0.05)
