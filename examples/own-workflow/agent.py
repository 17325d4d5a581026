"""The editor and the publisher of pages. Standard library only; sites are kept in memory."""

import http.server
import json

versions, done = {}, {}  # page -> its texts; idempotency key -> answer


def work(action, page, text=""):
    texts = versions.setdefault(page, ["(empty)"])
    if action == "check":
        return {"words": len(text.split()), "todos": text.count("TODO")}
    if action == "publish":
        texts.append(text)
    elif len(texts) > 1:
        texts.pop()
    return {"live": texts[-1], "healthy": "BROKEN" not in texts[-1]}


class Agent(http.server.BaseHTTPRequestHandler):
    def do_POST(self):
        command = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        key = command["idempotency_key"]
        if key not in done:
            done[key] = work(**command["payload"])
        self.send_response(200)
        self.end_headers()
        self.wfile.write(json.dumps(done[key]).encode())


http.server.HTTPServer(("127.0.0.1", 9300), Agent).serve_forever()
