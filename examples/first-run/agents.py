"""Two HTTP agents in one process: `test` and `deploy`. Standard library only."""

import json
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

PORT = 9101
done = {}  # idempotency key -> answer: a step that is sent twice is carried out once


def carry_out(payload):
    if payload.get("action") == "test":
        failed = 1 if "broken" in str(payload.get("change")) else 0
        return {"passed": 12 - failed, "total": 12}
    return {"deployed": payload.get("change"), "version": f"1.0.{len(done)}"}


class Agent(BaseHTTPRequestHandler):
    def do_POST(self):
        command = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        key = self.headers["Idempotency-Key"]
        if key not in done:
            print(f"{command['agent']}: {command['payload']}", flush=True)
            done[key] = carry_out(command["payload"])
        body = json.dumps(done[key]).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_):
        pass


if __name__ == "__main__":
    print(f"agents listen on http://127.0.0.1:{PORT}/run", flush=True)
    ThreadingHTTPServer(("127.0.0.1", PORT), Agent).serve_forever()
