"""A mail server by aiosmtpd that can be told to be odd. Its one argument is JSON; every mail that it takes is a line of
JSON in the file `taken`, every try one in the file `tries`."""

import asyncio
import email
import email.policy
import json
import ssl
import sys

from aiosmtpd.smtp import SMTP, AuthResult

options = json.loads(sys.argv[1])
name, password = options["login"]
tries = {}


def note(file, entry):
    with open(f"{options['dir']}/{file}", "a", encoding="utf-8") as out:
        out.write(json.dumps(entry) + "\n")


def authenticate(server, session, envelope, mechanism, data):
    # LOGIN and PLAIN hand over bytes.
    is_right = (data.login, data.password) == (name.encode(), password.encode())
    note("logins", {"mechanism": mechanism, "right": is_right, "tls": session.ssl is not None})
    return AuthResult(success=is_right, handled=not is_right)


class Handler:
    async def handle_EHLO(self, server, session, envelope, hostname, responses):
        session.host_name = hostname
        return [one for one in responses if one[4:] not in options["withholds"]]

    async def handle_RCPT(self, server, session, envelope, address, rcpt_options):
        tries[address] = tries.get(address, 0) + 1
        if options["later"] == "RCPT" and tries[address] == 1:
            return "451 4.7.1 Greylisted, please come back"
        envelope.rcpt_tos.append(address)
        return "250 OK"

    async def handle_DATA(self, server, session, envelope):
        raw = envelope.original_content
        to = envelope.rcpt_tos[0]
        parsed = email.message_from_bytes(raw, policy=email.policy.default)
        note("tries", {"to": to, "id": parsed["Message-ID"]})
        if to.endswith("@slow.test"):
            await asyncio.sleep(options["silence_secs"])
        if options["later"] == "DATA" and tries[to] == 1:
            return "451 4.3.0 Come back"
        sender = parsed["From"].addresses[0]
        lines = raw.split(b"\r\n")
        part = lambda kind: parsed.get_body((kind,))
        note("taken", {
            "to": to,
            "header_to": str(parsed["To"]),
            "from": [sender.display_name, sender.addr_spec],
            "envelope_from": envelope.mail_from,
            "options": envelope.mail_options,
            "subject": parsed["Subject"],
            "headers": {name.lower(): [str(one) for one in parsed.get_all(name)] for name in parsed.keys()},
            "plain": part("plain").get_content(),
            "html": part("html").get_content(),
            "encodings": [str(part(kind)["Content-Transfer-Encoding"]) for kind in ("plain", "html")],
            "longest": max(map(len, lines)),
            "bare_newlines": sum(line.count(b"\n") + line.count(b"\r") for line in lines),
            "ascii": raw.isascii(),
            "ascii_headers": raw.split(b"\r\n\r\n")[0].isascii(),
            "defects": [str(one) for message in parsed.walk() for one in message.defects],
            "hello": session.host_name,
            "tls": session.ssl is not None,
        })
        return "250 2.0.0 taken"


async def main():
    context = None
    if options["certificate"]:
        context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        context.load_cert_chain(options["certificate"])
    factory = lambda: SMTP(
        Handler(),
        hostname="mail.house.test",
        enable_SMTPUTF8=options["utf8"],
        tls_context=context,
        require_starttls=context is not None,
        auth_required=bool(options["mechanisms"]),
        auth_require_tls=context is not None,
        auth_exclude_mechanism={"PLAIN", "LOGIN"} - set(options["mechanisms"]),
        authenticator=authenticate,
    )
    server = await asyncio.get_running_loop().create_server(factory, "127.0.0.1", options["port"])
    await server.serve_forever()


asyncio.run(main())
