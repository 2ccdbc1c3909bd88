"""A stock SPIFFE client for Python (py-spiffe, unmodified), taken through the whole Workload API.

The socket is $SPIFFE_ENDPOINT_SOCKET. Prints one JSON object a line, `step` in front; tests/go says the same in Go,
so one test reads both. Any surprise ends it with a traceback and exit code 1.
"""

import argparse
import json
import threading

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from spiffe import JwtSvid, WorkloadApiClient, X509Source
from spiffe.workloadapi.errors import ValidateJwtSvidError


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("-audience", help="also fetch and validate a JWT-SVID for this audience")
    parser.add_argument("-updates", type=int, default=1, help="watch until so many different SVIDs were seen")
    parser.add_argument("-timeout", type=float, default=60, help="seconds that any step may take")
    wanted = parser.parse_args()

    with WorkloadApiClient(default_timeout=wanted.timeout) as client:
        x509_svid(client)
        x509_bundles(client)
        if wanted.audience:
            jwt_svid(client, wanted.audience)
    watch(wanted.updates, wanted.timeout)
    say("done")


def x509_svid(client: WorkloadApiClient) -> None:
    context = client.fetch_x509_context()
    svid = context.default_svid
    bundle = context.x509_bundle_set.get_bundle_for_trust_domain(svid.spiffe_id.trust_domain)
    assert bundle is not None, "no bundle for the SVID's own trust domain"
    verify(svid.cert_chain, bundle.x509_authorities)
    assert public(svid.private_key) == public(svid.leaf), "the key is another certificate's"
    say(
        "x509_svid",
        spiffe_id=str(svid.spiffe_id),
        chain=len(svid.cert_chain),
        not_after=int(svid.leaf.not_valid_after_utc.timestamp()),
    )


def verify(chain: list[x509.Certificate], authorities: set[x509.Certificate]) -> None:
    """Each certificate is signed by the next, the last one by an authority of the bundle."""
    for child, parent in zip(chain, chain[1:]):
        child.verify_directly_issued_by(parent)
    last = chain[-1]
    [root] = [authority for authority in authorities if authority.subject == last.issuer]
    last.verify_directly_issued_by(root)


def public(holder) -> bytes:
    return holder.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)


def x509_bundles(client: WorkloadApiClient) -> None:
    bundles = client.fetch_x509_bundles().bundles
    say(
        "x509_bundles",
        trust_domains=sorted(bundle.trust_domain.name for bundle in bundles),
        authorities=sum(len(bundle.x509_authorities) for bundle in bundles),
    )


def jwt_svid(client: WorkloadApiClient, audience: str) -> None:
    svid = client.fetch_jwt_svid({audience})
    say("jwt_svid", spiffe_id=str(svid.spiffe_id), audience=sorted(svid.audience), expires=svid.expiry)

    bundles = client.fetch_jwt_bundles()
    names = sorted(bundle.trust_domain.name for bundle in bundles.bundles)
    say("jwt_bundles", trust_domains=names, authorities=sum(len(b.jwt_authorities) for b in bundles.bundles))

    own = bundles.get_bundle_for_trust_domain(svid.spiffe_id.trust_domain)
    JwtSvid.parse_and_validate(svid.token, own, {audience})
    say("validated", spiffe_id=str(client.validate_jwt_svid(svid.token, audience).spiffe_id))
    refused(client, svid.token, "https://somebody-else.test", "another audience")
    refused(client, forged(svid.token), audience, "a forged signature")


def forged(token: str) -> str:
    """The token with one bit of its signature turned."""
    head, signature = token.rsplit(".", 1)
    return f"{head}.{'B' if signature[0] == 'A' else 'A'}{signature[1:]}"


def refused(client: WorkloadApiClient, token: str, audience: str, why: str) -> None:
    try:
        client.validate_jwt_svid(token, audience)
    except ValidateJwtSvidError:
        return say("refused", why=why)
    raise AssertionError(f"validated in spite of {why}")


def watch(updates: int, timeout: float) -> None:
    """Holds a stream open until so many different SVIDs came over it."""
    serials: list[int] = []
    enough = threading.Event()
    with X509Source(timeout_in_seconds=timeout) as source:

        def look() -> None:
            serial = source.svid.leaf.serial_number
            if serial not in serials:
                serials.append(serial)
                say("update", serial=f"{serial:x}", spiffe_id=str(source.svid.spiffe_id))
            if len(serials) >= updates:
                enough.set()

        look()
        source.subscribe_for_updates(look)
        assert enough.wait(timeout), f"{len(serials)} of {updates} SVIDs within {timeout} s"


def say(step: str, **facts: object) -> None:
    print(json.dumps({"step": step, **facts}), flush=True)


if __name__ == "__main__":
    main()
