"""What an environment needs around the service, as code: plan, apply, undo.

A resource here is a folder with a description in it, which is what this machine can honestly provide
without a cloud. The way is that of the big tools: a plan is made against a numbered state, kept, shown
to people, and applied only while the state still has that number.

    <home>/slots/<environment>/
        resources.json       the state: its number, what there is, the plan that led here, what was before
        resources/<name>/    each resource
        removed/<name>/      what was destroyed, so that a rollback can bring it back
        plans/<plan>.json    plans that were made
"""

import hashlib
import json
import re
import shutil
from pathlib import Path

from lib import files
from lib.protocol import Failure, one_line

MAX_REQUESTS = 20
MAX_SIZE_MB = 10**9
DEFAULT_SIZE_MB = 10
NAME = re.compile(r"[a-z0-9][a-z0-9-]{0,39}")
VERBS = {
    "add": "create", "create": "create", "provision": "create",
    "remove": "destroy", "delete": "destroy", "drop": "destroy", "destroy": "destroy",
    "change": "change", "resize": "change", "update": "change", "grow": "change",
}
TYPES = {
    "database": "database", "postgresql": "database", "postgres": "database", "mysql": "database",
    "redis": "cache", "cache": "cache", "queue": "queue", "bucket": "storage", "storage": "storage",
    "volume": "volume", "disk": "volume",
}
# Words that belong to the sentence, not to the name.
FILLERS = {"a", "an", "the", "new", "of", "to", "with", "for"}
SIZE = re.compile(r"(\d{1,12})\s*(mb|gb)\b", re.IGNORECASE)


def requested(description, listed):
    """What is wished for: from a list of resources, and from a sentence a line."""
    wishes = []
    for entry in listed if isinstance(listed, list) else []:
        if not isinstance(entry, dict):
            entry = {"name": str(entry)}
        wishes.append(
            wish(entry.get("action", "create"), entry.get("name", ""), entry.get("type"), entry.get("size_mb"))
        )
    for line in description.splitlines():
        words = re.findall(r"[a-z0-9]+", SIZE.sub(" ", line).lower())
        if not words:
            continue
        action = VERBS.get(words[0], "create")
        name = [word for word in words if word not in FILLERS][1 if words[0] in VERBS else 0 :]
        kind = next((TYPES[word] for word in name if word in TYPES), None)
        size = SIZE.search(line)
        megabytes = int(size[1]) * (1024 if size[2].lower() == "gb" else 1) if size else None
        wishes.append(wish(action, "-".join(name), kind, megabytes))
    if len(wishes) > MAX_REQUESTS:
        raise Failure("too_many", f"{len(wishes)} changes at once; {MAX_REQUESTS} are the most")
    return wishes


def wish(action, name, kind, megabytes):
    """One change, with every gap filled."""
    slug = re.sub(r"[^a-z0-9]+", "-", str(name).lower()).strip("-")[:40].strip("-") or "resource"
    size = min(megabytes, MAX_SIZE_MB) if isinstance(megabytes, int) and megabytes > 0 else DEFAULT_SIZE_MB
    return {
        "action": action if action in ("create", "change", "destroy") else "create",
        "name": slug,
        "type": one_line(str(kind), 40) if kind else "resource",
        "size_mb": size,
    }


class Environment:
    """The resources of one environment."""

    def __init__(self, slot):
        self.slot, self.folder = slot, slot.folder

    def state(self):
        empty = {"serial": 0, "resources": {}, "plan": None, "before": None}
        return files.read_json(self.folder / "resources.json", empty)

    def plan(self, described, wishes):
        """The difference between what there is and what there should be, kept under its id."""
        state = self.state()
        target, concerns = {**state["resources"], **{k: v for k, v in described.items() if k not in state["resources"]}}, []
        for item in wishes:
            name = item["name"]
            if item["action"] == "destroy":
                if target.pop(name, None) is None:
                    concerns.append(f"there is no {name} to destroy")
            else:
                target[name] = {"type": item["type"], "size_mb": item["size_mb"]}
        actions = difference(state["resources"], target)
        content = {"environment": self.slot.name, "serial": state["serial"], "target": target, "actions": actions}
        plan_id = hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()[:12]
        (self.folder / "plans").mkdir(exist_ok=True)
        files.write_json(self.folder / "plans" / f"{plan_id}.json", content)
        return plan_id, actions, concerns

    def apply(self, plan_id):
        """Makes the planned state real; a plan that was applied already changes nothing more."""
        plan = self.kept_plan(plan_id)
        state = self.state()
        if state["plan"] != plan_id:
            if state["serial"] != plan["serial"]:
                raise Failure("stale_plan", f"{self.slot.name} has changed since plan {plan_id} was made")
            state = {"serial": plan["serial"] + 1, "resources": plan["target"], "plan": plan_id,
                     "before": state["resources"]}
            files.write_json(self.folder / "resources.json", state)
        self.reconcile(state["resources"])
        return plan, state

    def undo(self, plan_id):
        """Goes back to what was there before the plan; False if the plan was never applied."""
        state = self.state()
        if state["plan"] != plan_id or state["before"] is None:
            self.reconcile(state["resources"])
            return False, state
        state = {"serial": state["serial"] + 1, "resources": state["before"], "plan": f"undo-{plan_id}",
                 "before": None}
        files.write_json(self.folder / "resources.json", state)
        self.reconcile(state["resources"])
        return True, state

    def kept_plan(self, plan_id):
        if not re.fullmatch(r"[0-9a-f]{12}", str(plan_id)):
            raise Failure("no_plan", "there is no plan to apply")
        plan = files.read_json(self.folder / "plans" / f"{plan_id}.json", None)
        if plan is None:
            raise Failure("no_plan", f"there is no plan {plan_id} for {self.slot.name}")
        return plan

    def reconcile(self, wanted):
        """Folders become what the state says. Doing it twice is doing it once."""
        there, removed = self.folder / "resources", self.folder / "removed"
        there.mkdir(exist_ok=True)
        removed.mkdir(exist_ok=True)
        for folder in list(there.iterdir()):
            if folder.name not in wanted:
                shutil.rmtree(removed / folder.name, ignore_errors=True)
                folder.rename(removed / folder.name)
        for name, resource in wanted.items():
            folder = there / checked(name)
            if not folder.exists() and (removed / name).exists():
                (removed / name).rename(folder)
            folder.mkdir(exist_ok=True)
            files.write_json(folder / "resource.json", resource)

    def issues(self, wanted):
        """What is wrong with the resources as they are."""
        free = shutil.disk_usage(self.folder).free // 1024**2
        found = []
        for name, resource in wanted.items():
            if files.read_json(self.folder / "resources" / checked(name) / "resource.json", None) != resource:
                found.append(f"{name} is not what it should be")
            if resource["size_mb"] > free:
                found.append(f"{name} wants {resource['size_mb']} MB, {free} MB are free")
        return found


def difference(have, want):
    """Every step from one state to another, in words a person can check."""
    actions = []
    for name in sorted(have.keys() | want.keys()):
        if name not in have:
            actions.append({"action": "create", "name": name, **want[name]})
        elif name not in want:
            actions.append({"action": "destroy", "name": name, **have[name]})
        elif have[name] != want[name]:
            actions.append({"action": "change", "name": name, **want[name]})
    return actions


def described(work, environment):
    """What the project's own description asks for: `infrastructure.json`, by environment."""
    known = files.read_json(Path(work) / "infrastructure.json", {})
    found = known.get(environment, {}) if isinstance(known, dict) else {}
    return {
        item["name"]: {"type": item["type"], "size_mb": item["size_mb"]}
        for item in (wish("create", name, entry.get("type"), entry.get("size_mb")) for name, entry in found.items())
    }


def checked(name):
    """The name, if it can be that of a folder."""
    if not NAME.fullmatch(name):
        raise Failure("name", f"{one_line(name, 60)!r} is no name of a resource")
    return name
