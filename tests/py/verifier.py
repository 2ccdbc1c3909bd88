"""Verifies a JWT as a reader of OpenID Connect does (PyJWT, unmodified), with nothing but the issuer's name.

    verifier.py  ISSUER  AUDIENCE  CA.pem  TOKEN

Says the claims as a line of JSON, or why not on standard error.
"""

import json
import ssl
import sys
import urllib.request

import jwt


def main(issuer, audience, ca, token):
    trust = ssl.create_default_context(cafile=ca)
    with urllib.request.urlopen(f"{issuer}/.well-known/openid-configuration", context=trust) as answer:
        provider = json.load(answer)
    if provider["issuer"] != issuer:
        raise SystemExit(f"the document is of {provider['issuer']}")
    key = jwt.PyJWKClient(provider["jwks_uri"], ssl_context=trust).get_signing_key_from_jwt(token)
    algorithms = provider["id_token_signing_alg_values_supported"]
    required = ["aud", "exp", "iat", "iss", "jti", "sub"]
    claims = jwt.decode(token, key, algorithms, audience=audience, issuer=issuer, options={"require": required})
    print(json.dumps(claims))


try:
    main(*sys.argv[1:])
except jwt.PyJWTError as error:
    raise SystemExit(str(error))
