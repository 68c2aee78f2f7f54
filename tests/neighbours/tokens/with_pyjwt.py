"""Checks access tokens by PyJWT, as its documentation shows."""

import json
import sys

import jwt

url, issuer, audience = sys.argv[1:]
keys = jwt.PyJWKClient(url)
for line in sys.stdin:
    token = line.rstrip("\n")
    try:
        key = keys.get_signing_key_from_jwt(token)
        claims = jwt.decode(
            token,
            key,
            algorithms=["ES256", "EdDSA"],
            audience=audience,
            issuer=issuer,
            options={"require": ["exp", "iat", "iss", "aud", "sub", "jti"]},
        )
        print(json.dumps({"claims": claims}))
    except jwt.PyJWTError as error:
        print(json.dumps({"claims": None, "why": repr(error)}))
