"""A service by py-spiffe that says "ok" over HTTP to whoever it lets in: each connection is met with what the socket
($SPIFFE_ENDPOINT_SOCKET) has served last.

    service.py ADDRESS
"""

import socket
import ssl
import sys
import threading

from spiffe import TrustDomain, X509Source
from visitor import context

DOMAIN = TrustDomain("ci.example.org")
OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: close\r\n\r\nok"


def main() -> None:
    host, port = sys.argv[1].rsplit(":", 1)
    with X509Source() as source, socket.create_server((host, int(port))) as listener:
        while True:
            connection, _address = listener.accept()
            threading.Thread(target=meet, args=(source, connection), daemon=True).start()


def meet(source: X509Source, connection: socket.socket) -> None:
    served = source.get_x509_context()
    bundle = served.x509_bundle_set.get_bundle_for_trust_domain(DOMAIN)
    tls = context(served.default_svid, bundle.x509_authorities, ssl.PROTOCOL_TLS_SERVER)
    tls.verify_mode = ssl.CERT_REQUIRED
    connection.settimeout(30)
    try:
        with tls.wrap_socket(connection, server_side=True) as stream:
            if stream.recv(1 << 16):
                stream.sendall(OK)
                # The client closes first: what it has not read must not be reset away.
                stream.recv(1)
    except OSError as refused:
        print("refused:", refused, file=sys.stderr, flush=True)


if __name__ == "__main__":
    main()
