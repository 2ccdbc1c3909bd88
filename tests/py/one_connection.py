"""A job's client with one connection: one_connection.py PORT. For each line that it is given it makes a request on that very
connection, and says its status and its body in one line; the connection is never opened again."""

import http.client
import sys

connection = http.client.HTTPConnection("127.0.0.1", int(sys.argv[1]), timeout=60)
connection.connect()
socket = connection.sock
for _ in sys.stdin:
    connection.request("GET", "/entries")
    answer = connection.getresponse()
    body = answer.read().decode()
    assert connection.sock is socket, "the connection was closed"
    print(answer.status, body.replace("\n", " "), flush=True)
