"""The HTTP side of the shop."""

import json
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs, urlsplit

from shop import catalogue, prices, release, settings


def answer(path):
    """Status and body for a request; knows nothing of sockets."""
    url = urlsplit(path)
    query = {key: values[-1] for key, values in parse_qs(url.query).items()}
    if url.path == "/health":
        return health()
    if url.path == "/products":
        return 200, {"products": catalogue.listing()}
    if url.path == "/price":
        return price(query)
    return 404, {"error": "there is no such page"}


def health():
    """Whether this release can work with the settings it was given."""
    missing = settings.missing()
    body = {"status": "ok", "environment": settings.environment(), **release.read()}
    if missing:
        body["status"] = f"settings lack {', '.join(missing)}"
    return (503 if missing else 200), body


def price(query):
    """What some pieces of a product cost."""
    sku = query.get("sku", "")
    if catalogue.find(sku) is None:
        return 404, {"error": f"there is no product {sku!r}"}
    try:
        quantity = int(query.get("quantity", "1"))
    except ValueError:
        return 400, {"error": "this is no quantity"}
    gift_wrap = query.get("gift_wrap") == "yes"
    return 200, {**prices.quote(sku, quantity, gift_wrap), "currency": settings.load()["currency"]}


class Handler(BaseHTTPRequestHandler):
    """Turns answers into HTTP."""

    def do_GET(self):
        try:
            status, body = answer(self.path)
        except Exception as error:  # the caller gets an answer whatever happens
            status, body = 500, {"error": f"{type(error).__name__}: {error}"}
        data = json.dumps(body).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, *_):
        pass


def serve(port):
    """Serves until the process ends. On loopback only."""
    ThreadingHTTPServer(("127.0.0.1", port), Handler).serve_forever()
