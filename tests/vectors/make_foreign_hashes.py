"""Prints hashes of passwords, made by the programs whose users may be imported.

    python3 -m venv venv && venv/bin/pip install bcrypt==5.0.0 django==5.2.19 passlib==1.7.4 argon2-cffi==25.1.0
    npm install --prefix node firebase-scrypt@2.2.0 bcryptjs@3.0.3
    venv/bin/python make_foreign_hashes.py node > foreign_hashes.json

Costs are low, so that a test can check all of them. `same` holds other passwords that the program takes as well.
"""

import base64
import hashlib
import hmac
import json
import os
import subprocess
import sys

# The bcrypt of passlib itself: it does not know the present version of the other one.
os.environ["PASSLIB_BUILTIN_BCRYPT"] = "enabled"

import argon2
import argon2.low_level
import bcrypt
import django.conf
import passlib.hash as of_passlib
from django.contrib.auth.hashers import make_password

django.conf.settings.configure(
    PASSWORD_HASHERS=[
        "django.contrib.auth.hashers." + name
        for name in (
            "PBKDF2PasswordHasher",
            "Argon2PasswordHasher",
            "BCryptSHA256PasswordHasher",
            "BCryptPasswordHasher",
            "ScryptPasswordHasher",
        )
    ]
)

of_passlib.bcrypt.set_backend("builtin")

PASSWORDS = ["correct horse battery staple", "Gr\u00fc\u00dfe aus M\u00fcnchen, \u6c34\u5c71\u706b"]
# An accent apart from its letter, and a blank of another keyboard, as some keyboards type them.
DECOMPOSED = "cafe\u0301\u00a0au lait, s'il vous plai\u0302t"
LONG = "a password of more than seventy-two bytes, of which bcrypt reads the first ones and no more"
vectors = []


def add(name, by, password, hash, same=()):
    vectors.append({"name": name, "by": by, "password": password, "same": list(same), "hash": hash})


def b64(data):
    return base64.b64encode(data).decode()


# argon2-cffi
KINDS = {"id": argon2.Type.ID, "i": argon2.Type.I, "d": argon2.Type.D}
for kind, type in KINDS.items():
    for version in (16, 19):
        for password in PASSWORDS:
            text = argon2.low_level.hash_secret(
                password.encode(), b"a salt of 16 byt", 2, 64, 1, 32, type, version=version
            ).decode()
            add(f"argon2{kind} v={version}", "argon2-cffi", password, text)
hasher = argon2.PasswordHasher(time_cost=3, memory_cost=256, parallelism=4, hash_len=16, salt_len=8)
add("argon2id, short salt and hash, four lanes", "argon2-cffi", PASSWORDS[0], hasher.hash(PASSWORDS[0]))
old = argon2.low_level.hash_secret(b"correct horse battery staple", b"some salt", 1, 64, 1, 24, argon2.Type.I, version=16)
add("argon2i without a version", "argon2-cffi", PASSWORDS[0], old.decode().replace("v=16$", ""))

# bcrypt
for password in [*PASSWORDS, DECOMPOSED]:
    for prefix in (b"2a", b"2b"):
        text = bcrypt.hashpw(password.encode(), bcrypt.gensalt(4, prefix=prefix)).decode()
        add(f"bcrypt {prefix.decode()}", "bcrypt", password, text)
    add("bcrypt 2y", "passlib", password, of_passlib.bcrypt.using(rounds=4, ident="2y").hash(password))
add("bcrypt, cost 7", "bcrypt", PASSWORDS[0], bcrypt.hashpw(PASSWORDS[0].encode(), bcrypt.gensalt(7)).decode())
text = bcrypt.hashpw(LONG.encode()[:72], bcrypt.gensalt(4)).decode()
add("bcrypt of 72 bytes", "bcrypt", LONG[:72], text, [LONG, LONG[:72] + " and something else"])

# passlib
for name, scheme in {
    "pbkdf2-sha256": of_passlib.pbkdf2_sha256.using(rounds=1000),
    "pbkdf2-sha512": of_passlib.pbkdf2_sha512.using(rounds=1000),
    "ldap pbkdf2-sha256": of_passlib.ldap_pbkdf2_sha256.using(rounds=1000),
    "ldap pbkdf2-sha512": of_passlib.ldap_pbkdf2_sha512.using(rounds=1000),
    "scrypt": of_passlib.scrypt.using(rounds=10),
    "scrypt, p=3": of_passlib.scrypt.using(rounds=8, block_size=4, parallelism=3),
    "sha256-crypt": of_passlib.sha256_crypt.using(rounds=1000),
    "sha512-crypt": of_passlib.sha512_crypt.using(rounds=1000),
    "sha512-crypt, short salt": of_passlib.sha512_crypt.using(rounds=1500, salt_size=8),
    "sha512-crypt, default rounds": of_passlib.sha512_crypt.using(rounds=5000),
    "ldap sha512-crypt": of_passlib.ldap_sha512_crypt.using(rounds=1000),
    "ldap bcrypt": of_passlib.ldap_bcrypt.using(rounds=4),
    "ldap ssha": of_passlib.ldap_salted_sha1.using(salt_size=4),
    "ldap ssha256": of_passlib.ldap_salted_sha256.using(salt_size=8),
    "ldap ssha512": of_passlib.ldap_salted_sha512.using(salt_size=16),
}.items():
    for password in [*PASSWORDS, DECOMPOSED]:
        add(name, "passlib", password, scheme.hash(password))

# Django
for name in ("pbkdf2_sha256", "argon2", "bcrypt_sha256", "bcrypt", "scrypt"):
    from django.contrib.auth import hashers

    hasher = hashers.get_hasher(name)
    hasher.iterations, hasher.rounds = 1000, 4
    hasher.time_cost, hasher.memory_cost, hasher.parallelism = 2, 64, 1
    hasher.work_factor = 2**10
    for password in PASSWORDS:
        add(f"django {name}", "django", password, make_password(password, hasher=hasher))
    if name == "bcrypt_sha256":
        add(f"django {name}, long", "django", LONG, make_password(LONG, hasher=hasher))

# Keycloak and ASP.NET Identity: the layouts of their documentation, around hashes of Python's own library.
for function, length in (("sha256", 32), ("sha256", 64), ("sha512", 64)):
    for password in PASSWORDS:
        salt = b"sixteen byte salt"[:16]
        value = hashlib.pbkdf2_hmac(function, password.encode(), salt, 1000, length)
        fields = {"algorithm": f"pbkdf2-{function}", "hashIterations": 1000, "salt": b64(salt), "value": b64(value)}
        add(f"keycloak pbkdf2-{function}, {length} bytes", "hashlib", password, {"keycloak": fields})
secret = json.dumps({"value": fields["value"], "salt": fields["salt"], "additionalParameters": {}})
data = json.dumps({"hashIterations": 1000, "algorithm": "pbkdf2-sha512", "additionalParameters": {}})
add("keycloak credential", "hashlib", PASSWORDS[-1], {"keycloak": {"secretData": secret, "credentialData": data}})
raw = argon2.low_level.hash_secret_raw(PASSWORDS[0].encode(), b"a salt of 16 byt", 5, 64, 1, 32, argon2.Type.ID)
extra = {"hashLength": ["32"], "memory": ["64"], "type": ["id"], "version": ["1.3"], "parallelism": ["1"]}
fields = {"algorithm": "argon2", "hashIterations": 5, "salt": b64(b"a salt of 16 byt"), "value": b64(raw)}
add("keycloak argon2", "argon2-cffi", PASSWORDS[0], {"keycloak": {**fields, "additionalParameters": extra}})
for prf, function in ((1, "sha256"), (2, "sha512")):
    for password in PASSWORDS:
        salt = b"0123456789abcdef"
        value = hashlib.pbkdf2_hmac(function, password.encode(), salt, 1000, 32)
        blob = bytes([1]) + b"".join(n.to_bytes(4, "big") for n in (prf, 1000, len(salt))) + salt + value
        add(f"asp.net identity v3, {function}", "hashlib", password, b64(blob))

# WordPress from 6.8 on, by the steps of `wp_hash_password`.
for password in PASSWORDS:
    mac = base64.b64encode(hmac.new(b"wp-sha384", password.encode(), "sha384").digest())
    text = "$wp" + bcrypt.hashpw(mac, bcrypt.gensalt(4)).decode().replace("$2b$", "$2y$")
    add("wordpress", "bcrypt", password, text, [" " + password + "\n"])

# Firebase and bcryptjs
script = """
const { FirebaseScrypt } = require('firebase-scrypt');
const bcryptjs = require('bcryptjs');
(async () => {
  const passwords = JSON.parse(process.argv[1]);
  const signer_key = Buffer.from(Array.from({length: 64}, (_, n) => n * 3)).toString('base64');
  const project = { signer_key, salt_separator: 'Bw==', rounds: 8, mem_cost: 10 };
  const firebase = new FirebaseScrypt(
    { memCost: 10, rounds: 8, saltSeparator: 'Bw==', signerKey: signer_key });
  const out = [];
  for (const password of passwords) {
    const salt = Buffer.from('sixteen more byt').toString('base64');
    const hash = await firebase.hash(password, salt);
    out.push({ name: 'firebase', by: 'firebase-scrypt', password, same: [],
      hash: { firebase: { hash, salt, ...project } } });
    out.push({ name: 'bcrypt of node', by: 'bcryptjs', password, same: [],
      hash: bcryptjs.hashSync(password, 4) });
  }
  console.log(JSON.stringify(out));
})();
"""
made = subprocess.run(
    ["node", "-e", script, json.dumps([*PASSWORDS, DECOMPOSED])],
    cwd=sys.argv[1], check=True, capture_output=True, text=True,
)
vectors += json.loads(made.stdout)

lines = ",\n".join("  " + json.dumps(vector) for vector in vectors)
print(f"[\n{lines}\n]")
