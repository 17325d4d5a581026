"""Questions to a running service, over HTTP and on loopback only."""

import json
import time
import urllib.error
import urllib.parse
import urllib.request

from lib.protocol import Failure, one_line

SECONDS = 2
MAX_BODY_BYTES = 64 * 1024
OPENER = urllib.request.build_opener(urllib.request.ProxyHandler({}))


def get(url):
    """Status and JSON body; status 0 when nobody answers."""
    if urllib.parse.urlsplit(url).hostname not in ("127.0.0.1", "localhost", "::1"):
        raise Failure("url", f"{one_line(url, 200)} is not on this machine")
    try:
        with OPENER.open(url, timeout=SECONDS) as reply:
            return reply.status, body_of(reply)
    except urllib.error.HTTPError as error:
        with error:
            return error.code, body_of(error)
    except (OSError, ValueError) as error:
        return 0, {"error": one_line(str(error), 200)}


def body_of(reply):
    try:
        body = json.loads(reply.read(MAX_BODY_BYTES))
    except (OSError, ValueError):
        return {}
    return body if isinstance(body, dict) else {}


def wait_healthy(url, commit, seconds):
    """The first good report of this very release, or the last bad one when the time is over."""
    end = time.monotonic() + seconds
    while True:
        status, report = get(url)
        healthy = status == 200 and report.get("commit") == commit
        if healthy or time.monotonic() > end:
            return healthy, {"http_status": status, **report}
        time.sleep(0.05)


def error_rate(base, paths, requests):
    """Share of requests that got anything but a good answer, and what went wrong first."""
    failures = []
    for number in range(requests):
        path = paths[number % len(paths)]
        status, body = get(base + path)
        if not 200 <= status < 400:
            failures.append(f"{path}: {status} {one_line(str(body.get('error', '')), 200)}".strip())
    return len(failures) / requests, list(dict.fromkeys(failures))[:5]
