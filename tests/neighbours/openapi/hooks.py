"""Logs in for each request, so that one that ends its session, as a log-out does, ends no other."""

import json
import os
import urllib.request

import schemathesis


@schemathesis.serializer("application/x-ndjson")
def lines(context, value):
    return json.dumps(value).encode() + b"\n"


def log_in(base_url):
    body = {"email": os.environ["EMAIL"], "password": os.environ["PASSWORD"], "audience": "admin"}
    request = urllib.request.Request(
        base_url + "/v1/login", json.dumps(body).encode(), {"Content-Type": "application/json"}
    )
    with urllib.request.urlopen(request) as answer:
        return json.load(answer)["access_token"]


@schemathesis.auth(refresh_interval=None)
class Administrator:
    def get(self, case, context):
        return log_in(os.environ["BASE_URL"])

    def set(self, case, data, context):
        case.headers = case.headers or {}
        case.headers["Authorization"] = "Bearer " + data
