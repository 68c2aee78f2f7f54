"""Checks access tokens by every letter of RFC 7515, RFC 7517, RFC 8725 and RFC 9068, as strict frameworks do."""

import base64
import json
import re
import sys
import time

import requests
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, utils
from cryptography.hazmat.primitives.hashes import SHA256

LEEWAY = 60  # seconds
url, issuer, audience = sys.argv[1:]


def need(is_so, what):
    if not is_so:
        raise ValueError(what)


def decoded(text):
    need(re.fullmatch(r"[A-Za-z0-9_-]*", text), "another alphabet than base64url, or padding")
    data = base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))
    need(base64.urlsafe_b64encode(data).rstrip(b"=").decode() == text, "bits behind the end")
    return data


def read(data):
    def once(pairs):
        need(len({name for name, _ in pairs}) == len(pairs), "a member is there twice")
        return dict(pairs)

    value = json.loads(data.decode("utf-8"), object_pairs_hook=once)
    need(isinstance(value, dict), "no object")
    return value


def public_key(jwk):
    need(jwk.get("use") == "sig" and "d" not in jwk, "no public key for signatures")
    need(jwk.get("key_ops", ["verify"]) == ["verify"], "other operations")
    x = decoded(jwk["x"])
    need(len(x) == 32, "a short coordinate")
    if (jwk["kty"], jwk["crv"], jwk["alg"]) == ("EC", "P-256", "ES256"):
        y = decoded(jwk["y"])
        need(len(y) == 32, "a short coordinate")
        point = ec.EllipticCurvePublicNumbers(int.from_bytes(x, "big"), int.from_bytes(y, "big"), ec.SECP256R1())
        return point.public_key()
    need((jwk["kty"], jwk["crv"], jwk["alg"]) == ("OKP", "Ed25519", "EdDSA"), "an unknown kind of key")
    return ed25519.Ed25519PublicKey.from_public_bytes(x)


def verify(key, alg, signature, signed):
    need(len(signature) == 64, "a signature of another length")
    if alg == "EdDSA":
        return key.verify(signature, signed)
    r, s = int.from_bytes(signature[:32], "big"), int.from_bytes(signature[32:], "big")
    key.verify(utils.encode_dss_signature(r, s), signed, ec.ECDSA(SHA256()))


def check(token, keys):
    parts = token.split(".")
    need(len(parts) == 3, "no three parts")
    header = read(decoded(parts[0]))
    need(header.get("typ") == "at+jwt", "another type")
    need(isinstance(header.get("kid"), str) and header["kid"], "no kid")
    need(not {"crit", "jwk", "jku", "x5c", "x5u", "zip", "b64"} & header.keys(), "an extension")
    need(header["kid"] in keys, "an unknown key")
    jwk = keys[header["kid"]]
    need(header.get("alg") == jwk["alg"], "another algorithm than that of the key")
    verify(public_key(jwk), jwk["alg"], decoded(parts[2]), f"{parts[0]}.{parts[1]}".encode())
    claims = read(decoded(parts[1]))
    now = time.time()
    for name in ("exp", "iat", "auth_time"):
        need(type(claims.get(name)) is int, f"{name} is no integer")
    need(claims["exp"] > now - LEEWAY and claims["iat"] < now + LEEWAY, "out of its time")
    need(claims["iat"] < claims["exp"], "ends before it begins")
    need(claims.get("nbf", 0) <= now + LEEWAY, "not yet valid")
    need(claims.get("iss") == issuer, "another issuer")
    aud = claims.get("aud")
    need(isinstance(aud, (str, list)) and audience in ([aud] if isinstance(aud, str) else aud), "another audience")
    for name in ("sub", "jti", "client_id"):
        need(isinstance(claims.get(name), str) and claims[name], f"no {name}")
    return claims


answer = requests.get(url, timeout=30, allow_redirects=False, headers={"Accept": "application/jwk-set+json, application/json"})
assert answer.status_code == 200, answer.status_code
assert answer.headers["Content-Type"].split(";")[0] in ("application/json", "application/jwk-set+json"), answer.headers
published = read(answer.content)["keys"]
keys = {jwk["kid"]: jwk for jwk in published}
assert len(keys) == len(published), "a kid is there twice"
for one in published:
    public_key(one)

for line in sys.stdin:
    try:
        print(json.dumps({"claims": check(line.rstrip("\n"), keys)}))
    except (ValueError, KeyError, InvalidSignature) as error:
        print(json.dumps({"claims": None, "why": repr(error)}))
