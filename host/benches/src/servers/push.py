"""Sends each line of a file as a message on a ZeroMQ PUSH socket. Prints `ready` when it listens.

    push.py PORT FILE
"""

import sys

import zmq

port, path = sys.argv[1:]
context = zmq.Context()
socket = context.socket(zmq.PUSH)
socket.sndhwm = 0
socket.linger = -1
with open(path, "rb") as lines:
    rows = lines.read().splitlines()
socket.bind(f"tcp://127.0.0.1:{port}")
print("ready", flush=True)
for row in rows:
    socket.send(row)
socket.close()
# Waits until all messages are sent.
context.term()
