"""A ZeroMQ socket that sends. Each line of its input is a message: a JSON array of frames (strings, or arrays of bytes).

Usage: zeromq.py xpub|push|rep bind|connect ADDRESS [USER PASSWORD]

It prints `sent N` after each message, and `subscribed TOPIC` for an XPUB socket.
"""

import json
import sys
import threading

import zmq
import zmq.auth.thread

kind, how, address, *login = sys.argv[1:]
context = zmq.Context()
socket = context.socket(getattr(zmq, kind.upper()))
socket.linger = -1
socket.sndhwm = 0
socket.heartbeat_ivl = 200
socket.heartbeat_timeout = 20000
if login:
    guard = zmq.auth.thread.ThreadAuthenticator(context)
    guard.start()
    guard.configure_plain(domain="*", passwords={login[0]: login[1]})
    socket.plain_server = True
getattr(socket, how)(address)
print("ready", flush=True)

# A socket belongs to one thread, so standard input is passed on through another socket.
inner = context.socket(zmq.PAIR)
inner.bind("inproc://lines")


def read():
    outer = context.socket(zmq.PAIR)
    outer.connect("inproc://lines")
    for line in sys.stdin:
        outer.send_string(line)


threading.Thread(target=read, daemon=True).start()
poller = zmq.Poller()
poller.register(inner, zmq.POLLIN)
if kind == "xpub":
    poller.register(socket, zmq.POLLIN)
sent = 0
while True:
    ready = dict(poller.poll())
    if socket in ready:
        subscription = socket.recv()
        if subscription[:1] == b"\x01":
            print("subscribed", subscription[1:].decode(), flush=True)
    if inner in ready:
        frames = json.loads(inner.recv_string())
        socket.send_multipart([frame.encode() if isinstance(frame, str) else bytes(frame) for frame in frames])
        sent += 1
        print("sent", sent, flush=True)
