"""A Vault that judges logins with other people's libraries: certificates by OpenSSL, tokens by PyJWT.

    vault.py  PORT  CERT.pem  KEY.pem  ROOTS.pem  DISCOVERY_CA.pem

Says a line when it listens, and serves until its standard input ends. Who writes needs the token `root`. It has what a role needs
and no more: `cert`, `jwt`, policies that read, and a `kv` of version 2. Its words are Vault's.
"""

import http.server
import json
import re
import secrets
import ssl
import sys
import threading
import urllib.request

import jwt

WRITTEN, TOKENS = {}, {}
MATCHES_NONE = "no chain matching all constraints could be found for this login certificate"


class Refused(Exception):
    def __init__(self, status, said):
        super().__init__(said)
        self.status = status


def fits(pattern, text):
    return re.fullmatch(".*".join(re.escape(part) for part in pattern.split("*")), text, re.DOTALL) is not None


def by_certificate(certificate, asked):
    if not certificate:
        raise Refused(400, "invalid certificate or no client certificate supplied")
    names = [name for kind, name in certificate.get("subjectAltName", ()) if kind == "URI"]
    at = "auth/cert/certs/"
    roles = {path.removeprefix(at): role for path, role in WRITTEN.items() if path.startswith(at)}
    for role in roles.values() if "name" not in asked else [roles.get(asked["name"])]:
        if role and any(fits(pattern, name) for pattern in role["allowed_uri_sans"] for name in names):
            return role
    raise Refused(400, MATCHES_NONE)


def by_token(trust, asked):
    role, config = WRITTEN.get(f"auth/jwt/role/{asked.get('role')}"), WRITTEN["auth/jwt/config"]
    if not role:
        raise Refused(400, f"role \"{asked.get('role')}\" could not be found")
    with urllib.request.urlopen(f"{config['oidc_discovery_url']}/.well-known/openid-configuration", context=trust) as answer:
        provider = json.load(answer)
    leeway = role["clock_skew_leeway"] + max(role["expiration_leeway"], role["not_before_leeway"])
    try:
        key = jwt.PyJWKClient(provider["jwks_uri"], ssl_context=trust).get_signing_key_from_jwt(asked["jwt"])
        claims = jwt.decode(
            asked["jwt"],
            key,
            provider["id_token_signing_alg_values_supported"],
            audience=role["bound_audiences"],
            issuer=config["bound_issuer"],
            leeway=leeway,
        )
    except jwt.InvalidAudienceError:
        raise Refused(400, "error validating token: invalid audience (aud) claim: audience claim does not match any bound audience")
    except jwt.PyJWTError as error:
        raise Refused(400, f"error validating token: {error}")
    if role.get("bound_subject", claims["sub"]) != claims["sub"]:
        raise Refused(400, "error validating token: invalid subject (sub) claim")
    same = fits if role["bound_claims_type"] == "glob" else str.__eq__
    for name, wanted in role["bound_claims"].items():
        if not any(same(value, claims.get(name, "")) for value in wanted):
            raise Refused(400, f"error validating claims: claim \"{name}\" does not match any associated bound claim values")
    if not isinstance(claims.get(role["user_claim"]), str):
        raise Refused(400, f"claim \"{role['user_claim']}\" not found in token")
    return role


def may_read(policies, path):
    texts = [WRITTEN.get(f"sys/policies/acl/{policy}", {}).get("policy", "") for policy in policies]
    found = [rule for text in texts for rule in re.findall(r'path "([^"]*)" \{\s*capabilities = \["read"\]\s*\}', text)]
    return any(path.startswith(rule[:-1]) if rule.endswith("*") else path == rule for rule in found)


class Vault(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, *_words):
        pass

    def do_GET(self):
        self.answer({})

    def do_POST(self):
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        self.answer(json.loads(body or b"{}"))

    def answer(self, body):
        try:
            status, said = 200, self.reply(self.path.removeprefix("/v1/"), body)
        except Refused as refused:
            status, said = refused.status, {"errors": [str(refused)]}
        text = json.dumps(said).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(text)))
        self.end_headers()
        self.wfile.write(text)

    def reply(self, path, body):
        if path == "auth/cert/login":
            return logged_in(by_certificate(self.connection.getpeercert(), body))
        if path == "auth/jwt/login":
            return logged_in(by_token(self.server.trust, body))
        token = self.headers.get("X-Vault-Token")
        if token == "root":
            WRITTEN[path] = body
            return {}
        if token not in TOKENS:
            raise Refused(403, "permission denied")
        if path == "auth/token/revoke-self":
            return {"data": TOKENS.pop(token) and None}
        if path == "auth/token/renew-self":
            return {"auth": {"client_token": token, "lease_duration": 600, "renewable": True, "policies": TOKENS[token]}}
        if path == "auth/token/lookup-self":
            return {"data": {"ttl": 600, "renewable": True}}
        if not may_read(TOKENS[token], path):
            raise Refused(403, "1 error occurred:\n\t* permission denied\n\n")
        return {"data": WRITTEN[path]}


def logged_in(role):
    token = f"hvs.{secrets.token_hex(12)}"
    TOKENS[token] = role["token_policies"]
    seconds = int(role["token_ttl"].removesuffix("s"))
    return {"auth": {"client_token": token, "lease_duration": seconds, "renewable": True, "policies": TOKENS[token]}}


def main(port, certificate, key, roots, discovery_ca):
    server = http.server.ThreadingHTTPServer(("127.0.0.1", int(port)), Vault)
    server.trust = ssl.create_default_context(cafile=discovery_ca)
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    tls.load_cert_chain(certificate, key)
    tls.load_verify_locations(roots)
    tls.verify_mode = ssl.CERT_OPTIONAL
    server.socket = tls.wrap_socket(server.socket, server_side=True)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    print("ready", flush=True)
    sys.stdin.read()


main(*sys.argv[1:])
