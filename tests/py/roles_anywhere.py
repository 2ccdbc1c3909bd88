"""Asks IAM Roles Anywhere for a session as AWS documents it, with an SVID's files and no code of ours.

    roles_anywhere.py  FOLDER  URL  CA.pem  [without-chain | with-another-body]

The leaf is the first certificate of svid.pem and all others are its chain; the key is the only one in svid_key.pem. Says the answer's
status and its body as a line of JSON. Where a word says so, something is wrong with the request.
"""

import base64
import datetime
import hashlib
import json
import pathlib
import ssl
import sys
import urllib.error
import urllib.parse
import urllib.request

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

ALGORITHM = "AWS4-X509-ECDSA-SHA256"


def digest(data):
    return hashlib.sha256(data).hexdigest()


def main(folder, url, ca, wrong=""):
    folder = pathlib.Path(folder)
    leaf, *chain = x509.load_pem_x509_certificates((folder / "svid.pem").read_bytes())
    key = serialization.load_pem_private_key((folder / "svid_key.pem").read_bytes(), password=None)
    anchor = "arn:aws:rolesanywhere:eu-central-1:123456789012:trust-anchor/8d1e3ba2"
    body = json.dumps({"durationSeconds": 900, "trustAnchorArn": anchor}).encode()

    now = datetime.datetime.now(datetime.timezone.utc).strftime("%Y%m%dT%H%M%SZ")
    text = lambda certificate: base64.b64encode(certificate.public_bytes(serialization.Encoding.DER)).decode()
    headers = {"content-type": "application/json", "host": urllib.parse.urlsplit(url).netloc, "x-amz-date": now}
    headers["x-amz-x509"] = text(leaf)
    if wrong != "without-chain":
        headers["x-amz-x509-chain"] = ",".join(map(text, chain))
    names = ";".join(sorted(headers))
    lines = "".join(f"{name}:{headers[name]}\n" for name in sorted(headers))
    canonical = "\n".join(["POST", "/sessions", "", lines, names, digest(body)])
    scope = f"{now[:8]}/eu-central-1/rolesanywhere/aws4_request"
    signed = "\n".join([ALGORITHM, now, scope, digest(canonical.encode())])
    signature = key.sign(signed.encode(), ec.ECDSA(hashes.SHA256())).hex()
    credential = f"{leaf.serial_number}/{scope}"
    headers["authorization"] = f"{ALGORITHM} Credential={credential}, SignedHeaders={names}, Signature={signature}"

    if wrong == "with-another-body":
        body = body.replace(b"900", b"901")
    request = urllib.request.Request(f"{url}/sessions", body, headers, method="POST")
    try:
        with urllib.request.urlopen(request, context=ssl.create_default_context(cafile=ca)) as answer:
            status, said = answer.status, json.load(answer)
    except urllib.error.HTTPError as refused:
        status, said = refused.code, json.load(refused)
    print(json.dumps({"status": status, "said": said}))


main(*sys.argv[1:])
