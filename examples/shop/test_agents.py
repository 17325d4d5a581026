#!/usr/bin/env python3
"""Drives the shop's branches through its agents, in the order in which the templates call them.

    python3 examples/shop/test_agents.py

Needs Python and git, no server and no model. Leaves nothing behind.
"""

import contextlib
import json
import os
import signal
import socket
import subprocess
import tempfile
import threading
import time
import unittest
import urllib.request
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

SHOP = Path(__file__).resolve().parent
SCHEMAS = SHOP.parent.parent / "templates" / "schemas"
# The same everywhere; changes only with history/.
MAIN_COMMIT = "c8238a0528bbaa1c8f8528428868ef33b00b0b75"
OPENER = urllib.request.build_opener(urllib.request.ProxyHandler({}))


class AgentError(Exception):
    """An agent's step failed."""


class Case(unittest.TestCase):
    """A shop of its own for every test."""

    def setUp(self):
        scratch = tempfile.TemporaryDirectory(prefix="shop-test-")
        self.addCleanup(scratch.cleanup)
        self.home = Path(scratch.name)
        self.environment = {"PATH": os.environ["PATH"], "HOME": scratch.name, "SHOP_HOME": scratch.name}
        (self.home / "ports.json").write_text(json.dumps(dict(zip(("staging", "production"), free_ports(2)))))
        self.addCleanup(self.stop_everything)
        self.run_id = "pr-deployment-1"

    def stop_everything(self):
        subprocess.run([SHOP / "agents/infrastructure", "stop"], env=self.environment, check=True,
                       stdout=subprocess.DEVNULL)
        for url in self.urls():
            with self.assertRaises(OSError, msg="a service was left behind"):
                OPENER.open(url, timeout=1)

    def urls(self):
        ports = json.loads((self.home / "ports.json").read_text())
        return [f"http://127.0.0.1:{port}" for port in ports.values()]

    def start(self, agent, step, _run=None, _visit=1, **payload):
        run = _run or self.run_id
        command = {"v": 1, "workflow_id": run, "step_id": step, "idempotency_key": f"{run}/{step}/{_visit}",
                   "agent": agent, "payload": payload, "context": {}}
        process = subprocess.Popen([SHOP / "agents" / agent], env=self.environment, stdin=subprocess.PIPE,
                                   stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        process.stdin.write(json.dumps(command).encode())
        process.stdin.close()
        return process

    def finish(self, agent, process):
        with process:
            said, log = process.stdout.read(), process.stderr.read().decode()
        answer = json.loads(said) if said else {"error": {"code": "no_answer", "message": log}}
        if process.returncode != 0:
            raise AgentError(f"{answer['error']['code']}: {answer['error']['message']}")
        self.assertEqual(violations(answer, json.loads((SCHEMAS / f"{agent}.json").read_text())), [])
        return answer

    def call(self, agent, step, **options):
        return self.finish(agent, self.start(agent, step, **options))

    def git(self, *arguments):
        done = subprocess.run(["git", "-C", self.home / "repository.git", *arguments], capture_output=True, check=True,
                              env={**self.environment, "GIT_CONFIG_NOSYSTEM": "1"})
        return done.stdout.decode().strip()

    def fetch(self, slot, path):
        port = json.loads((self.home / "ports.json").read_text())[slot]
        with OPENER.open(f"http://127.0.0.1:{port}{path}", timeout=5) as reply:
            return json.load(reply)

    def log(self, event):
        lines = (self.home / "log.jsonl").read_text().splitlines()
        return [line for line in map(json.loads, lines) if line["event"] == event]

    def review(self, branch, **options):
        return self.call("code-review", "code_review", action="review", branch=branch, **options)

    def deploy(self, slot, it, **options):
        return self.call("infrastructure", f"deploy_{slot}", action="deploy", environment=slot, branch=it["branch"],
                         commit=it["commit"], **options)


class PullRequests(Case):
    def test_a_good_one_goes_to_production_and_into_the_changelog(self):
        it = self.review("feature/gift-wrap")
        self.assertEqual((it["secrets_found"], it["missing_tests"], it["quality_score"]), (0, 0, 100))
        tests = self.call("cicd", "run_tests", action="test", branch=it["branch"], commit=it["commit"])
        self.assertEqual((tests["total"], tests["passed"]), (13, 13))
        self.assertGreater(tests["coverage"], 80)
        staged = self.deploy("staging", it)
        live = self.deploy("production", it, staged=staged["commit"])
        for slot in (staged, live):
            self.assertEqual((slot["healthy"], slot["error_rate"], slot["previous_version"]), (True, 0, "1.0.0"))
        self.assertTrue(live["as_staged"])
        self.assertTrue(self.fetch("production", "/price?sku=mug&gift_wrap=yes")["gift_wrap"])
        self.assertEqual(self.fetch("production", "/health")["version"], live["version"])
        self.assertEqual(self.git("rev-parse", "main"), MAIN_COMMIT)
        entry = {"action": "changelog", "target": "main", "merge": live["commit"], "pr_number": 12,
                 "branch": it["branch"], "changes": it["commits"], "version": live["version"]}
        docs = self.call("documentation", "update_docs", **entry)
        self.assertEqual(self.git("rev-parse", "main"), docs["commit"])
        self.assertEqual(self.git("rev-parse", "main~1"), live["commit"])
        self.assertIn("- #12: Offer gift wrapping — 1.0.0-2-g", self.git("show", "main:CHANGELOG.md"))

        # The same pull request once more: there is nothing left to do, and every step says so.
        self.run_id = "pr-deployment-2"
        it = self.review("feature/gift-wrap")
        self.assertEqual((it["lines_changed"], it["critical_issues"]), (0, 0))
        self.assertEqual(self.deploy("production", it)["commit"], docs["commit"])

    def test_one_with_a_failing_test_stops_at_the_tests(self):
        it = self.review("feature/bulk-discount")
        self.assertEqual((it["critical_issues"], it["missing_tests"]), (0, 0))
        tests = self.call("cicd", "run_tests", action="test", branch=it["branch"], commit=it["commit"])
        self.assertEqual((tests["total"], tests["passed"]), (12, 11))
        self.assertIn("test_ten_pieces", tests["failures"][0])

    def test_one_with_a_secret_stops_at_the_review(self):
        it = self.review("feature/payment-client")
        self.assertEqual((it["secrets_found"], it["security"]), (1, "failed"))
        self.assertEqual((it["issues"][0]["file"], it["issues"][0]["line"]), ("shop/payments.py", 8))
        self.assertNotIn("4f9c2e71", json.dumps(it))

    def test_one_that_is_ill_only_in_production_is_rolled_back(self):
        it = self.review("feature/country-tax")
        self.assertEqual((it["critical_issues"], it["sensitive_files"]), (0, 1))
        tests = self.call("cicd", "run_tests", action="test", branch=it["branch"], commit=it["commit"])
        self.assertEqual(tests["passed"], tests["total"])
        self.assertTrue(self.deploy("staging", it)["healthy"])
        live = self.deploy("production", it)
        self.assertFalse(live["healthy"])
        self.assertEqual(live["health"]["status"], "settings lack tax_per_cent")
        self.assertGreater(live["error_rate"], 0.05)
        back = self.call("infrastructure", "rollback_production", action="rollback", target="release",
                         environment="production")
        self.assertEqual((back["rolled_back"], back["version"]), (True, "1.0.0"))
        self.assertEqual(self.fetch("production", "/health")["version"], "1.0.0")
        self.assertEqual(self.git("rev-parse", "main"), MAIN_COMMIT)
        # Undone is undone: a later call of the same run takes nothing more away.
        again = self.call("infrastructure", "rollback_production", _visit=2, action="rollback", target="release",
                          environment="production")
        self.assertEqual((again["rolled_back"], again["version"]), (False, "1.0.0"))

    def test_documents_are_reviewed_and_merged(self):
        self.run_id = "docs-update-1"
        it = self.call("documentation", "validate_docs_only", action="validate",
                       files_changed=["README.md", "QUICKSTART.md"])
        self.assertEqual((it["branch"], it["non_doc_count"]), ("docs/opening-hours", 0))
        read = self.call("documentation", "review_documentation", action="review", branch=it["branch"])
        self.assertEqual((read["broken_links"], read["issue_count"]), (0, 0))
        self.call("cicd", "merge_documentation", action="merge", branch=it["branch"], commit=read["commit"])
        self.assertIn("nine to five", self.git("show", "main:docs/opening-hours.md"))

    def test_code_is_no_document(self):
        it = self.call("documentation", "validate_docs_only", action="validate", branch="feature/gift-wrap",
                       files_changed=["README.md"])
        self.assertEqual(it["non_doc_files"], ["shop/prices.py", "shop/service.py", "tests/test_gift_wrap.py"])


class OtherWorkflows(Case):
    def test_a_hotfix_goes_straight_to_production(self):
        self.run_id = "hotfix-1"
        it = self.call("supervisor", "validate_hotfix", action="validate_hotfix", branch="hotfix/critical")
        self.assertEqual((it["branch"], it["severity"], it["sensitive_files"]), ("hotfix/quantity", "critical", 0))
        self.assertLessEqual(it["lines_changed"], 100)
        safe = self.review(it["branch"], focus="security", commit=it["commit"])
        live = self.deploy("production", safe)
        smoke = self.call("cicd", "smoke_tests", action="smoke_test", url=live["url"], version=live["version"],
                          merge=live["commit"], branch=it["branch"])
        self.assertEqual((smoke["passed"], smoke["merged"]), (smoke["total"], True))
        self.assertEqual(self.git("rev-parse", "main"), live["commit"])
        wrong = self.call("cicd", "smoke_tests", _visit=2, action="smoke_test", url=live["url"], version="another")
        self.assertEqual((wrong["failures"], wrong["merged"]), (["version"], False))

    def test_a_feature_is_merged_with_all_that_belongs_to_it(self):
        self.run_id = "feature-1"
        wish = 'say "hi" to $USER; touch pwned'
        plan = self.call("supervisor", "analyze_requirements", action="analyze", task_description=wish,
                         requires_infrastructure=True, requires_cicd=True)
        self.assertEqual(plan["parts"], ["infrastructure", "pipelines", "code", "documents"])
        it = self.call("feature-dev", "implement_feature", action="implement", task_description=wish)
        self.assertEqual(it["branch"], "feature/say-hi-to-user-touch-pwned-feature-1")
        self.assertEqual(self.review(it["branch"], commit=it["commit"])["critical_issues"], 0)
        needs = self.call("infrastructure", "update_infrastructure", action="update", branch=it["branch"],
                          task_description="Remember sessions in a Redis cache of 64 MB")
        self.assertEqual(needs["changes"], ["infrastructure: redis-cache"])
        self.call("cicd", "update_cicd", action="update_pipeline", branch=it["branch"], target_coverage=90)
        docs = self.call("documentation", "update_documentation", action="changelog", target=it["branch"], title=wish,
                         changes=needs["changes"])
        done = self.call("cicd", "merge", action="merge", branch=docs["branch"], commit=docs["commit"])
        self.assertEqual(self.git("rev-parse", "main"), done["commit"])
        self.assertEqual(json.loads(self.git("show", "main:infrastructure.json"))["staging"]["redis-cache"]["size_mb"], 64)
        self.assertEqual(json.loads(self.git("show", "main:project.json"))["minimum_coverage"], 90)
        self.assertIn('- say "hi" to $USER; touch pwned (infrastructure: redis-cache)', self.git("show", "main:CHANGELOG.md"))
        self.assertFalse(list(Path.cwd().glob("pwned")) + list(self.home.rglob("pwned")))

    def test_a_description_can_be_taken_back(self):
        self.run_id = "feature-2"
        it = self.call("feature-dev", "implement_feature", action="implement", task_description="x")
        for step, action in (("update_infrastructure", "update"), ("update_infrastructure.undo", "rollback")):
            self.call("infrastructure", step, action=action, branch=it["branch"], task_description="Add a queue")
        self.assertEqual(self.git("show", f"{it['branch']}:infrastructure.json"), self.git("show", "main:infrastructure.json"))

    def test_a_failure_is_looked_into(self):
        asked = {"step_id": "merge", "error": "no answer", "attempts": 3}
        found = self.call("supervisor", "merge.diagnose", action="diagnose", error_type="http_503", **asked)
        self.assertEqual(found["summary"], "merge: the service behind the agent has troubles of its own")
        found = self.call("supervisor", "merge.diagnose", _visit=2, action="diagnose", error_type="timeout", **asked)
        self.assertEqual(found["advice"], "do less at once, or allow more time")

    def test_documents_only_get_a_branch_of_their_own(self):
        plan = self.call("supervisor", "analyze", action="analyze", task_description="Fix typos in the documentation")
        self.assertEqual((plan["documents_only"], plan["confidence"]), (True, 0.9))
        docs = self.call("documentation", "update_documentation", action="changelog", title="Fix typos")
        self.assertEqual(docs["branch"], "docs/pr-deployment-1")


class Infrastructure(Case):
    def plan(self, wish, run, **options):
        asked = self.call("infrastructure", "analyze_changes", _run=run, action="analyze", environment="staging",
                          changes_description=wish, **options)
        return self.call("infrastructure", "generate_plan", _run=run, action="plan", environment="staging",
                         requested=asked["requested"])

    def apply(self, plan, run):
        return self.call("infrastructure", "apply_changes", _run=run, action="apply", environment="staging",
                         plan_id=plan["plan_id"])

    def test_plan_apply_describe(self):
        plan = self.plan("Add PostgreSQL database", "infra-1")
        self.assertEqual((plan["add"], plan["change"], plan["destroy"]), (2, 0, 0))
        done = self.apply(plan, "infra-1")
        self.assertEqual((done["healthy"], done["issue_count"]), (True, 0))
        self.assertTrue((self.home / "slots/staging/resources/postgresql-database/resource.json").exists())
        page = self.call("documentation", "update_documentation", action="infrastructure_page", environment="staging",
                         resources=done["resources"])
        self.assertIn("| postgresql-database | database | 10 MB |", self.git("show", f"main:{page['files'][0]}"))
        self.assertEqual(self.plan("Add PostgreSQL database", "infra-2")["actions"], [])
        self.assertEqual(self.plan("Remove the PostgreSQL database", "infra-3")["destroy"], 1)

    def test_what_does_not_fit_is_rolled_back(self):
        plan = self.plan("Add archive volume of 999999999 GB\nremove nothing-at-all", "infra-1",
                         resources=[{"name": "archive", "type": "volume", "size_mb": 10**9}])
        self.assertEqual(len(plan["concerns"]), 1)
        done = self.apply(plan, "infra-1")
        self.assertEqual((done["status"], done["healthy"]), ("degraded", False))
        back = self.call("infrastructure", "rollback_changes", _run="infra-1", action="rollback", target="resources",
                         environment="staging", plan_id=plan["plan_id"])
        self.assertEqual((back["rolled_back"], back["resources"]), (True, {}))
        self.assertEqual(list((self.home / "slots/staging/resources").iterdir()), [])

    def test_only_the_approved_plan_is_applied(self):
        first, second = self.plan("Add a queue", "infra-1"), self.plan("Add a bucket", "infra-2")
        self.apply(first, "infra-1")
        with self.assertRaisesRegex(AgentError, "stale_plan"):
            self.apply(second, "infra-2")
        with self.assertRaisesRegex(AgentError, "no_plan"):
            self.call("infrastructure", "apply_changes", _run="infra-3", action="apply", environment="staging",
                      plan_id="../../x")


class AtLeastOnce(Case):
    """Sluice may ask twice. Nothing may happen twice."""

    def test_the_same_key_gets_the_same_answer(self):
        it = self.review("feature/gift-wrap")
        self.assertEqual(self.deploy("staging", it), self.deploy("staging", it))
        self.assertEqual(len(self.log("begin")), 1)

    def test_two_at_once_with_one_key_are_one(self):
        it = self.review("feature/gift-wrap")
        both = [self.start("infrastructure", "deploy", action="deploy", environment="staging", branch=it["branch"])
                for _ in range(2)]
        answers = [self.finish("infrastructure", process) for process in both]
        self.assertEqual(answers[0], answers[1])
        self.assertEqual(len(self.log("begin")), 1)

    def test_two_runs_on_one_slot_are_told(self):
        self.deploy("staging", self.review("feature/gift-wrap"))
        both = [self.start("infrastructure", "deploy", _run=run, action="deploy", environment="staging",
                           branch="feature/country-tax") for run in ("a", "b")]
        outcomes = []
        for process in both:
            with contextlib.suppress(AgentError):
                outcomes.append(self.finish("infrastructure", process))
        # Unless the first had ended before the second began, one was refused; they never overlap.
        self.assertEqual(len(outcomes) + len(self.log("refused")), 2)
        self.assert_one_at_a_time()

    def assert_one_at_a_time(self):
        lines = map(json.loads, (self.home / "log.jsonl").read_text().splitlines())
        inside = 0
        for line in lines:
            inside += {"begin": 1, "end": -1}.get(line["event"], 0)
            self.assertIn(inside, (0, 1))

    def test_a_port_that_somebody_else_took_is_left_to_them(self):
        it = self.review("feature/gift-wrap")
        first = self.deploy("staging", it)
        subprocess.run([SHOP / "agents/infrastructure", "stop"], env=self.environment, check=True,
                       stdout=subprocess.DEVNULL)
        with socket.socket() as other:
            other.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            other.bind(("127.0.0.1", int(first["url"].rpartition(":")[2])))
            other.listen()
            again = self.deploy("staging", it, _visit=2)
        self.assertNotEqual(again["url"], first["url"])
        self.assertTrue(again["healthy"])
        self.assertEqual(self.fetch("staging", "/health")["commit"], again["commit"])

    def test_a_deployment_that_was_killed_is_done_again(self):
        it = self.review("feature/gift-wrap")
        expected = None
        # Killed ever later, until one is quick enough to end by itself.
        for visit, delay in enumerate((0.15, 0.4, 0.8, 1.4), start=1):
            process = self.start("infrastructure", "deploy_production", _run=f"run-{visit}", action="deploy",
                                 environment="production", branch=it["branch"])
            time.sleep(delay)
            process.send_signal(signal.SIGKILL)
            with contextlib.suppress(AgentError, ValueError):
                self.finish("infrastructure", process)
            live = self.call("infrastructure", "deploy_production", _run=f"run-{visit}", action="deploy",
                             environment="production", branch=it["branch"])
            expected = expected or live["version"]
            self.assertEqual((live["healthy"], live["version"]), (True, expected))
            back = self.call("infrastructure", "rollback", _run=f"run-{visit}", action="rollback", target="release",
                             environment="production")
            self.assertEqual((back["rolled_back"], back["version"]), (True, "1.0.0"))

    def test_a_landing_that_was_killed_is_done_once(self):
        it = self.review("feature/gift-wrap")
        entry = {"action": "changelog", "target": "main", "merge": it["commit"], "branch": it["branch"],
                 "changes": it["commits"]}
        for delay in (0.1, 0.2, 0.3, 0.5):
            process = self.start("documentation", "update_docs", **entry)
            time.sleep(delay)
            process.send_signal(signal.SIGKILL)
            with contextlib.suppress(AgentError, ValueError):
                self.finish("documentation", process)
        done = self.call("documentation", "update_docs", **entry)
        self.assertEqual(self.git("rev-parse", "main"), done["commit"])
        self.assertEqual(self.git("show", "main:CHANGELOG.md").count("Offer gift wrapping"), 1)

    def test_many_land_at_once_and_none_is_lost(self):
        branches = ("feature/gift-wrap", "feature/country-tax", "docs/opening-hours", "hotfix/quantity")
        self.review(branches[0])
        landing = [self.start("cicd", f"merge-{n}", action="merge", branch=branch) for n, branch in enumerate(branches)]
        for process in landing:
            self.assertTrue(self.finish("cicd", process)["merged"])
        for branch in branches:
            self.git("merge-base", "--is-ancestor", branch, "main")


class BadInput(Case):
    def refused(self, text):
        done = subprocess.run([SHOP / "agents/cicd"], input=text, env=self.environment, capture_output=True, check=False)
        self.assertEqual(done.returncode, 1, done.stderr)
        return json.loads(done.stdout)["error"]["code"]

    def test_what_is_no_command_is_refused(self):
        for text in (b"", b"[]", b"{}", b'{"idempotency_key":1,"workflow_id":"w","payload":{}}'):
            self.assertEqual(self.refused(text), "bad_command")
        command = {"idempotency_key": "k", "workflow_id": "w", "payload": {"action": "fly"}}
        self.assertEqual(self.refused(json.dumps(command).encode()), "unknown_action")

    def test_nothing_outside_is_touched(self):
        with self.assertRaisesRegex(AgentError, "project: .* is not below SHOP_PROJECTS"):
            self.review("main", project_path=str(SHOP.parent.parent))
        with self.assertRaisesRegex(AgentError, "environment"):
            self.call("infrastructure", "x", action="deploy", environment="../x", branch="main")
        with self.assertRaisesRegex(AgentError, "url"):
            self.call("cicd", "x", action="smoke_test", url="http://192.0.2.1", version="1")
        with self.assertRaisesRegex(AgentError, "commit"):
            self.review("main", commit="--help", _visit=2)

    def test_odd_branches_are_names_and_nothing_else(self):
        for number, branch in enumerate(("--upload-pack=x", "$(touch pwned)", "a b\nc", "..", "x" * 9999, 7), start=1):
            it = self.review(branch, _visit=number)
            self.assertEqual(it["branch"], "feature/gift-wrap")
            self.assertEqual(len(it["remarks"]), 1)

    def test_another_project_is_taken_as_it_is(self):
        self.review("main")
        other = self.home / "projects" / "other.git"
        subprocess.run([SHOP / "make_repository", other], env=self.environment, check=True, stdout=subprocess.DEVNULL)
        self.assertEqual(self.review("hotfix/quantity", _visit=2, project_path=str(other))["files_changed"], 3)
        with self.assertRaisesRegex(AgentError, "branch: there is no branch"):
            self.review("feature/unknown", _visit=3, project_path=str(other))

    def test_the_example_stands_in_for_a_path_of_a_guide(self):
        it = self.review("feature/unknown", project_path="/no/such/project")
        self.assertEqual([remark.split(";")[0] for remark in it["remarks"]],
                         ["There is no project at /no/such/project here",
                          "There is no branch 'feature/unknown' here"])
        # Who has projects of their own wants to hear of a slip of the pen.
        self.environment["SHOP_PROJECTS"] = str(self.home / "projects")
        with self.assertRaisesRegex(AgentError, "project: /no/such/project is not below SHOP_PROJECTS"):
            self.review("main", _visit=2, project_path="/no/such/project")


class Opinion(Case):
    def test_a_model_is_asked_when_there_is_one(self):
        asked = []

        class Model(BaseHTTPRequestHandler):
            def do_POST(self):
                body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                asked.append((self.path, self.headers["Authorization"], body["messages"][1]["content"]))
                said = 'Here: {"summary": "fine", "concerns": ["wraps air"]}'
                data = json.dumps({"choices": [{"message": {"content": said}}]}).encode()
                self.send_response(200)
                self.end_headers()
                self.wfile.write(data)

            def log_message(self, *_):
                pass

        server = ThreadingHTTPServer(("127.0.0.1", 0), Model)
        thread = threading.Thread(target=server.serve_forever, args=(0.05,))
        thread.start()
        self.addCleanup(server.server_close)
        self.addCleanup(thread.join)
        self.addCleanup(server.shutdown)
        self.environment |= {"SLUICE_LLM_BASE_URL": f"http://127.0.0.1:{server.server_port}/v1",
                             "SLUICE_LLM_MODEL": "m", "SLUICE_LLM_API_KEY": "k"}
        it = self.review("feature/gift-wrap")
        self.assertEqual((it["model_concerns"], it["model_review"]["concerns"]), (1, ["wraps air"]))
        self.assertEqual(asked[0][:2], ("/v1/chat/completions", "Bearer k"))
        self.assertIn("+GIFT_WRAP_CENTS = 250", asked[0][2])
        # A diff with a secret in it goes nowhere.
        self.assertIsNone(self.review("feature/payment-client", _visit=2)["model_review"])
        self.assertEqual(len(asked), 1)


class History(Case):
    def test_it_is_the_same_everywhere(self):
        self.review("main")
        self.assertEqual(self.git("rev-parse", "main", "v1.0.0"), f"{MAIN_COMMIT}\n{MAIN_COMMIT}")
        self.git("fsck", "--strict")


def violations(value, schema, path="answer"):
    """Where a value does not satisfy the few words of JSON Schema that ours use."""
    kinds = {"object": dict, "array": list, "string": str, "boolean": bool, "integer": int, "number": (int, float),
             "null": type(None)}
    wanted = schema.get("type", [])
    wanted = [wanted] if isinstance(wanted, str) else wanted
    is_number = isinstance(value, bool) and "boolean" not in wanted
    if wanted and (is_number or not any(isinstance(value, kinds[kind]) for kind in wanted)):
        return [f"{path} is {value!r}, not {wanted}"]
    found = []
    if "enum" in schema and value is not None and value not in schema["enum"]:
        found.append(f"{path} is {value!r}, not one of {schema['enum']}")
    if isinstance(value, (int, float)) and not schema.get("minimum", value) <= value <= schema.get("maximum", value):
        found.append(f"{path} is {value!r}, out of range")
    if isinstance(value, dict):
        found += [f"{path}.{name} is missing" for name in schema.get("required", []) if name not in value]
        properties = schema.get("properties", {})
        if path == "answer":
            found += [f"{path}.{name} is not in the schema" for name in value if name not in properties]
        for name in value.keys() & properties.keys():
            found += violations(value[name], properties[name], f"{path}.{name}")
    if isinstance(value, list) and "items" in schema:
        found += [problem for item in value for problem in violations(item, schema["items"], f"{path}[]")]
    return found


def free_ports(count):
    """Ports that nobody uses now."""
    with contextlib.ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(count)]
        for each in sockets:
            each.bind(("127.0.0.1", 0))
        return [each.getsockname()[1] for each in sockets]


if __name__ == "__main__":
    unittest.main()
