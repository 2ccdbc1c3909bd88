"""A stock SPIFFE client for Python (py-spiffe, unmodified) that does what it is told.

The socket is $SPIFFE_ENDPOINT_SOCKET. Commands and answers are those of tests/doors/clients, the same for every
client: a command a line in, one JSON object a line out.
"""

import json
import sys
import threading

import grpc
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from spiffe import JwtSvid, WorkloadApiClient


def main() -> None:
    with WorkloadApiClient() as client:
        told = Told(client)
        say("ready")
        for line in sys.stdin:
            command, *words = line.split()
            try:
                told.obey(command, words)
            except Exception as error:
                say(command, **failure(error))


class Told:
    def __init__(self, client: WorkloadApiClient) -> None:
        self.client = client

    def obey(self, command: str, words: list[str]) -> None:
        {
            "x509_svid": self.x509_svid,
            "x509_bundles": self.x509_bundles,
            "jwt_svid": self.jwt_svid,
            "jwt_bundles": self.jwt_bundles,
            "validate": self.validate,
            "watch": self.watch,
        }[command](*words)

    def x509_svid(self) -> None:
        context = self.client.fetch_x509_context()
        svid = context.default_svid
        bundle = context.x509_bundle_set.get_bundle_for_trust_domain(svid.spiffe_id.trust_domain)
        assert bundle is not None, "no bundle for the SVID's own trust domain"
        verify(svid.cert_chain, bundle.x509_authorities)
        assert public(svid.private_key) == public(svid.leaf), "the key is another certificate's"
        say("x509_svid", spiffe_id=str(svid.spiffe_id), chain=len(svid.cert_chain), serial=serial(svid))

    def x509_bundles(self) -> None:
        bundles = self.client.fetch_x509_bundles().bundles
        say(
            "x509_bundles",
            trust_domains=sorted(bundle.trust_domain.name for bundle in bundles),
            authorities=sum(len(bundle.x509_authorities) for bundle in bundles),
        )

    def jwt_svid(self, *audience: str) -> None:
        svid = self.client.fetch_jwt_svid(set(audience))
        say("jwt_svid", spiffe_id=str(svid.spiffe_id), audience=sorted(svid.audience), token=svid.token)

    def jwt_bundles(self) -> None:
        bundles = self.client.fetch_jwt_bundles().bundles
        say(
            "jwt_bundles",
            trust_domains=sorted(bundle.trust_domain.name for bundle in bundles),
            authorities=sum(len(bundle.jwt_authorities) for bundle in bundles),
        )

    def validate(self, token: str, audience: str) -> None:
        """Judged by the agent, and then by this library with the agent's bundles."""
        domain = self.client.validate_jwt_svid(token, audience).spiffe_id.trust_domain
        own = self.client.fetch_jwt_bundles().get_bundle_for_trust_domain(domain)
        svid = JwtSvid.parse_and_validate(token, own, {audience})
        say("validate", spiffe_id=str(svid.spiffe_id))

    def watch(self, name: str) -> None:
        """Tells what comes over a stream, and when the library gives it up."""

        def update(context) -> None:
            svid = context.default_svid
            say("update", watch=name, spiffe_id=str(svid.spiffe_id), serial=serial(svid))

        def ended(error: Exception) -> None:
            say("watch_ended", watch=name, **failure(error))

        self.client.stream_x509_contexts(update, ended)


def verify(chain: list[x509.Certificate], authorities: set[x509.Certificate]) -> None:
    """Each certificate is signed by the next, the last one by an authority of the bundle."""
    for child, parent in zip(chain, chain[1:]):
        child.verify_directly_issued_by(parent)
    last = chain[-1]
    [root] = [authority for authority in authorities if authority.subject == last.issuer]
    last.verify_directly_issued_by(root)


def public(holder) -> bytes:
    return holder.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)


def serial(svid) -> str:
    return f"{svid.leaf.serial_number:x}"


def failure(error: BaseException) -> dict[str, object]:
    """The gRPC status behind an error of the library, or UNKNOWN."""
    cause: BaseException | None = error
    while cause is not None and not isinstance(cause, grpc.Call):
        cause = cause.__cause__
    if cause is None:
        return {"code": grpc.StatusCode.UNKNOWN.value[0], "message": repr(error)}
    return {"code": cause.code().value[0], "message": cause.details()}


printing = threading.Lock()


def say(step: str, **facts: object) -> None:
    with printing:
        print(json.dumps({"step": step, **facts}), flush=True)


if __name__ == "__main__":
    main()
