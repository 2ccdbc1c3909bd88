"""A process of a job: connects to a socket and passes bytes between that and its own standard input and output.

relay.py SOCKET          one process does both
relay.py SOCKET orphan   one process connects and waits to be killed; the connection is in the hands of its child
"""

import os
import signal
import socket
import sys
import threading


def passing(connection):
    def into():
        while data := os.read(0, 65536):
            connection.sendall(data)
        connection.shutdown(socket.SHUT_WR)

    threading.Thread(target=into, daemon=True).start()
    while data := connection.recv(65536):
        os.write(1, data)


def connected():
    connection = socket.socket(socket.AF_UNIX)
    connection.connect(sys.argv[1])
    return connection


def main():
    if sys.argv[2:] != ["orphan"]:
        return passing(connected())
    one = os.fork()
    if one:
        # Whoever connected is gone without a trace once it is killed.
        os.waitpid(one, 0)
        signal.pause()
    connection = connected()
    if os.fork():
        signal.pause()
    passing(connection)


try:
    main()
except (BrokenPipeError, ConnectionError):
    pass  # one of the two sides has gone
