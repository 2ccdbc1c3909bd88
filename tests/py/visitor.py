"""A process of a job that speaks with a service by py-spiffe: for each address a line in, one connection with the SVID
that the socket ($SPIFFE_ENDPOINT_SOCKET) has served last; a line out says "ok SERIAL ROOTS", with how many roots it had of
that trust domain, or "no WHY".

    visitor.py TRUST_DOMAIN_OF_THE_SERVICE
"""

import http.client
import ssl
import sys
import tempfile

from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from spiffe import TrustDomain, X509Source


def main() -> None:
    domain = TrustDomain(sys.argv[1])
    with X509Source() as source:
        for line in sys.stdin:
            try:
                print("ok", visit(source, domain, line.strip()), flush=True)
            except Exception as error:
                print("no", repr(error), flush=True)


def visit(source: X509Source, domain: TrustDomain, address: str) -> str:
    served = source.get_x509_context()
    svid = served.default_svid
    bundle = served.x509_bundle_set.get_bundle_for_trust_domain(domain)
    if bundle is None:
        raise LookupError(f"no bundle of {domain}")
    connection = http.client.HTTPSConnection(address, context=context(svid, bundle.x509_authorities), timeout=30)
    connection.request("GET", "/")
    answer = connection.getresponse()
    answer.read()
    connection.close()
    if answer.status != 200:
        raise RuntimeError(f"{answer.status} {answer.reason}")
    return f"{svid.leaf.serial_number:x} {len(bundle.x509_authorities)}"


def context(svid, authorities, side=ssl.PROTOCOL_TLS_CLIENT) -> ssl.SSLContext:
    """An SVID's server has a SPIFFE ID and no host name."""
    tls = ssl.SSLContext(side)
    tls.check_hostname = False
    tls.load_verify_locations(cadata="".join(pem(authority) for authority in authorities))
    key = svid.private_key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode()
    with tempfile.NamedTemporaryFile("w") as file:
        file.write(key + "".join(pem(certificate) for certificate in svid.cert_chain))
        file.flush()
        tls.load_cert_chain(file.name)
    return tls


def pem(certificate) -> str:
    return certificate.public_bytes(Encoding.PEM).decode()


if __name__ == "__main__":
    main()
