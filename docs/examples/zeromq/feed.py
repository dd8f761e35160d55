"""Publishes a reading of each room ten times a second. Needs pyzmq (pip install pyzmq).

    python3 feed.py [ADDRESS]
"""

import json
import sys
import time

import zmq

socket = zmq.Context().socket(zmq.PUB)
socket.bind(sys.argv[1] if len(sys.argv) > 1 else "tcp://127.0.0.1:5556")
for number in range(1_000_000):
    for room, base in [("kitchen", 20), ("cellar", 12)]:
        reading = {"celsius": base + number % 3}
        socket.send_multipart([f"temperature.{room}".encode(), json.dumps(reading).encode()])
    socket.send_multipart([b"humidity.kitchen", b"{}"])
    time.sleep(0.1)
