"""The sockets of this machine, for tests of sources and sinks: the implementation of `net` outside of a component."""

from __future__ import annotations

import itertools
import socket
from collections.abc import Iterator
from contextlib import contextmanager

from . import net

_TCP, _UDP = socket.SOCK_STREAM, socket.SOCK_DGRAM
#: The open sockets, by number.
_open: dict[int, socket.socket] = {}
_numbers = itertools.count(1)


@contextmanager
def _faults() -> Iterator[None]:
    try:
        yield
    except net.Fault:
        raise
    except TimeoutError as error:
        raise net.TimedOut("timed out") from error
    except (ConnectionResetError, ConnectionAbortedError, BrokenPipeError) as error:
        raise net.Closed("the other side has closed the connection") from error
    except OSError as error:
        raise net.Fault(str(error)) from error


def _keep(own: socket.socket) -> int:
    number = next(_numbers)
    _open[number] = own
    return number


def _of(number: int, kind: int, timeout_ms: int = 1) -> socket.socket:
    own = _open.get(number)
    if own is None:
        raise net.Closed("the socket is closed")
    if own.type != kind:
        raise net.Fault("this socket is a connection" if kind == _UDP else "this socket is for datagrams")
    # A timeout of 0 would make the socket non-blocking, so use at least 1 ms.
    own.settimeout(max(timeout_ms, 1) / 1000)
    return own


def _address(name: str, port: int, kind: int) -> tuple[int, tuple[str, int]]:
    found = socket.getaddrinfo(name.strip("[]"), port, type=kind)
    return found[0][0], found[0][4][:2]  # type: ignore[return-value]


def connect(name: str, port: int, timeout_ms: int) -> int:
    with _faults():
        return _keep(socket.create_connection((name.strip("[]"), port), max(timeout_ms, 1) / 1000))


def read(number: int, bytes_max: int, timeout_ms: int) -> bytes:
    with _faults():
        data = _of(number, _TCP, timeout_ms).recv(min(max(bytes_max, 1), 1 << 20))
        if not data:
            raise net.Closed("the other side has closed the connection")
        return data


def write(number: int, data: bytes, timeout_ms: int) -> None:
    with _faults():
        _of(number, _TCP, timeout_ms).sendall(data)


def bind(name: str, port: int) -> int:
    with _faults():
        family, address = _address(name, port, _UDP)
        own = socket.socket(family, _UDP)
        try:
            own.bind(address)
        except OSError:
            own.close()
            raise
        return _keep(own)


def receive(number: int, bytes_max: int, timeout_ms: int) -> tuple[str, bytes]:
    with _faults():
        data, (name, port, *_) = _of(number, _UDP, timeout_ms).recvfrom(1 << 16)
        return (f"[{name}]:{port}" if ":" in name else f"{name}:{port}"), data[: max(bytes_max, 1)]


def send(number: int, name: str, port: int, data: bytes) -> None:
    with _faults():
        _of(number, _UDP).sendto(data, _address(name, port, _UDP)[1])


def close(number: int) -> None:
    own = _open.pop(number, None)
    if own is not None:
        own.close()
