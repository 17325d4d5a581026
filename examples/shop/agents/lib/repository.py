"""Git, as the agents use it.

The project is a bare repository, as a server has one. Whoever needs files clones it, works in the
clone and pushes: two at once do not disturb each other, and whoever is second starts again.
"""

import contextlib
import importlib.machinery
import importlib.util
import json
import os
import re
import subprocess
from dataclasses import dataclass, field
from pathlib import Path

from lib import files
from lib.protocol import Failure, log, one_line

MAIN = "main"
GIT_SECONDS = 60
PUSH_TRIES = 20
MAX_COMMITS_NAMED = 20
BRANCH_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._/-]{0,150}")
COMMIT_ID = re.compile(r"[0-9a-f]{40}")
# What stands in for a branch that the example does not have.
PREPARED = {"hotfix": "hotfix/quantity", "docs": "docs/opening-hours"}
OTHERWISE = "feature/gift-wrap"
# Files that decide how and where the project runs.
SENSITIVE = re.compile(r"(config/.*|infrastructure\.json|project\.json|\.git[a-z]+|.*\.(tf|ya?ml))")


@dataclass
class Change:
    """One commit that somebody wants in the main branch."""

    project: Path
    branch: str
    commit: str
    remarks: list = field(default_factory=list)


@dataclass
class File:
    """What a change does to one file."""

    path: str
    added: int
    removed: int


def git(where, *arguments, dates=None, check=True):
    """Runs git and returns what it says. Nothing of this machine's configuration takes part."""
    environment = {
        "PATH": os.environ.get("PATH", os.defpath),
        "HOME": os.devnull,
        "LC_ALL": "C",
        "GIT_CONFIG_NOSYSTEM": "1",
        "GIT_CONFIG_GLOBAL": os.devnull,
        "GIT_TERMINAL_PROMPT": "0",
        "GIT_AUTHOR_NAME": "Shop agents",
        "GIT_AUTHOR_EMAIL": "agents@shop.example",
        "GIT_COMMITTER_NAME": "Shop agents",
        "GIT_COMMITTER_EMAIL": "agents@shop.example",
    }
    if dates:
        environment |= {"GIT_AUTHOR_DATE": dates, "GIT_COMMITTER_DATE": dates}
    command = ["git", "-C", str(where),
               "-c", f"core.hooksPath={os.devnull}", "-c", "core.quotePath=false", *arguments]
    try:
        done = subprocess.run(command, env=environment, capture_output=True, timeout=GIT_SECONDS, check=False)
    except subprocess.TimeoutExpired as error:
        raise Failure("git", f"git {arguments[0]} took too long", retryable=True) from error
    said = done.stdout.decode("utf-8", "replace")
    if check and done.returncode != 0:
        reason = one_line(done.stderr.decode("utf-8", "replace") or said, 500)
        raise Failure("git", f"git {arguments[0]}: {reason}")
    return said if done.returncode == 0 else None


def project(step):
    """The repository the step is about, and whether it is the example's own.

    Without a `project_path` the example is meant; it is built when it is first needed. Any other must
    lie below SHOP_PROJECTS, because its tests are going to be run. As long as nobody has set that, the
    example stands in for a path that does not exist here, such as one from a guide.
    """
    asked = named_project(step)
    own = files.home() / "repository.git"
    if not asked or Path(asked).resolve() == own or is_stood_in_for(asked):
        maker().build(own)
        return own, True
    real = Path(asked).resolve()
    roots = os.environ.get("SHOP_PROJECTS", "").split(os.pathsep)
    if not any(root and real.is_relative_to(Path(root).resolve()) for root in [*roots, str(files.home())]):
        raise Failure("project", f"{one_line(str(asked), 200)} is not below SHOP_PROJECTS")
    if not (real / "HEAD").exists() and not (real / ".git").exists():
        raise Failure("project", f"{real} is no git repository")
    return real, False


def named_project(step):
    """The path that the step or its run names, or nothing."""
    return str(step.get("project_path") or step.context.get("project_path") or "")


def is_stood_in_for(path):
    """Whether the example is taken instead of a path that leads nowhere. Who has projects of their own
    is told about a slip of the pen."""
    return not os.environ.get("SHOP_PROJECTS") and not os.path.lexists(path)


def maker():
    """The program `make_repository`, as a module."""
    loader = importlib.machinery.SourceFileLoader("make_repository", str(files.SHOP / "make_repository"))
    module = importlib.util.module_from_spec(importlib.util.spec_from_loader("make_repository", loader))
    loader.exec_module(module)
    return module


def change(step, kind=None):
    """The change that the step is about: a commit where one is named, else the head of a branch."""
    where, is_example = project(step)
    asked = step.get("branch")
    asked = one_line(str(asked), 200) if asked else ""
    branch, remarks = asked, []
    path = named_project(step)
    if path and is_example and is_stood_in_for(path):
        remarks.append(f"There is no project at {one_line(path, 200)} here; the example stands in for it.")
    if head(where, branch) is None:
        if not is_example:
            raise Failure("branch", f"there is no branch {asked!r} in {where}")
        first = kind or asked.split("/")[0]
        branch = PREPARED.get(first, OTHERWISE)
        remarks.append(f"There is no branch {asked!r} here; the prepared {branch} stands in for it.")
        log(remarks[-1])
    commit = step.get("commit")
    if commit is None:
        commit = head(where, branch)
    elif not COMMIT_ID.fullmatch(str(commit)) or git(where, "cat-file", "-e", f"{commit}^{{commit}}", check=False) is None:
        raise Failure("commit", f"there is no commit {one_line(str(commit), 60)!r}")
    return Change(where, branch, commit, remarks)


def head(where, branch):
    """The commit a branch is at, or None."""
    if not BRANCH_NAME.fullmatch(branch) or ".." in branch:
        return None
    found = git(where, "rev-parse", "--verify", "--quiet", f"refs/heads/{branch}^{{commit}}", check=False)
    return found.strip() if found else None


def base(it):
    """Where the change left the main branch."""
    found = git(it.project, "merge-base", f"refs/heads/{MAIN}", it.commit, check=False)
    if not found:
        raise Failure("branch", f"{it.branch} has nothing in common with {MAIN}")
    return found.strip()


def changed_files(it):
    """Every file that the change touches."""
    # Without renames: a file that moved is one that went and one that came.
    listing = git(it.project, "diff", "--numstat", "-z", "--no-renames", base(it), it.commit)
    found = []
    for line in filter(None, listing.split("\0")):
        added, removed, path = line.split("\t", 2)
        # "-" stands for binary files.
        counts = [0 if count == "-" else int(count) for count in (added, removed)]
        found.append(File(path, *counts))
    return found


def is_sensitive(path):
    """Whether a file decides how or where the project runs."""
    return SENSITIVE.fullmatch(path) is not None


def subjects(it):
    """First lines of the commits that the main branch does not have."""
    listing = git(it.project, "log", "--no-merges", f"--max-count={MAX_COMMITS_NAMED}", "--format=%s",
                  it.commit, f"^refs/heads/{MAIN}")
    return [one_line(line, 200) for line in listing.splitlines()]


def contains(where, branch, commit):
    """Whether the branch has the commit already."""
    return git(where, "merge-base", "--is-ancestor", commit, f"refs/heads/{branch}", check=False) is not None


@contextlib.contextmanager
def clone(where, branch=MAIN):
    """A clone that goes away afterwards, with the branch checked out."""
    with files.scratch() as folder:
        git(folder, "clone", "--quiet", "--shared", "--branch", branch, str(where), "work")
        yield folder / "work"


@contextlib.contextmanager
def merged(it):
    """A clone with the change merged into the main branch as it is now.

    Tests, staging and production look at this, not at the branch alone. Dates come from the change, so
    the same change on the same main branch is the same commit whoever merges it, and however often.
    """
    with clone(it.project) as work:
        merge(work, it)
        yield work


def merge(work, it):
    """Merges the change into what is checked out."""
    if git(work, "merge-base", "--is-ancestor", it.commit, "HEAD", check=False) is not None:
        return
    parents = git(work, "show", "--no-patch", "--format=%P", it.commit).split()
    if len(parents) > 1 and parents[0] == commit_id(work):
        # A release that was made from this very main branch is taken as it is.
        git(work, "merge", "--quiet", "--ff-only", it.commit)
        return
    dates = git(work, "show", "--no-patch", "--format=%cI", it.commit).strip()
    message = f"Merge {it.branch}"
    if git(work, "merge", "--quiet", "--no-ff", "-m", message, it.commit, dates=dates, check=False) is None:
        listing = git(work, "diff", "--name-only", "--diff-filter=U")
        raise Failure("conflict", f"{it.branch} does not merge into {MAIN}: {one_line(listing, 300)}")


def commit_id(work):
    """What is checked out."""
    return git(work, "rev-parse", "HEAD").strip()


def version(work):
    """A version for what is checked out: the last tag, commits since, commit."""
    return git(work, "describe", "--tags", "--always", "HEAD").strip().removeprefix("v")


def push(work, branch, to=None):
    """Moves a branch to what is checked out; False if it has moved on meanwhile."""
    return git(work, "push", "--quiet", "origin", f"HEAD:{to or 'refs/heads/' + branch}", check=False) is not None


def land(it):
    """Merges the change into the main branch; returns the commit the branch is at then."""
    for _ in range(PUSH_TRIES):
        if contains(it.project, MAIN, it.commit):
            return head(it.project, MAIN)
        with merged(it) as work:
            if push(work, MAIN):
                return commit_id(work)
    raise Failure("busy", f"{MAIN} moved {PUSH_TRIES} times in a row", retryable=True)


def commit_once(step, where, branch, edit, message, prepare=None):
    """Lets `edit(work)` change files and commits that to the branch, once for each step.

    The commit carries the step's key, so that a process that died between pushing and answering finds
    what it did. Without any difference there is no commit. Returns the commit and whether it is new.
    """
    trailer = f"Step: [{one_line(step.key, 300)}]"
    for _ in range(PUSH_TRIES):
        found = git(where, "log", "--fixed-strings", f"--grep={trailer}", "--format=%H", "--max-count=1",
                    f"refs/heads/{branch}").strip()
        if found:
            return found, True
        with clone(where, branch) as work:
            if prepare:
                prepare(work)
            edit(work)
            git(work, "add", "--all")
            if git(work, "diff", "--cached", "--quiet", check=False) is None:
                git(work, "commit", "--quiet", "-m", f"{message}\n\n{trailer}")
                changed = True
            else:
                changed = False
            done = commit_id(work)
            if done == head(where, branch) or push(work, branch):
                return done, changed
    raise Failure("busy", f"{branch} moved {PUSH_TRIES} times in a row", retryable=True)


def settings(work):
    """The project's own description: how it is tested, started, and asked how it feels."""
    try:
        known = json.loads((Path(work) / "project.json").read_text(encoding="utf-8"))
        commands = [known["test"], known["start"]]
        probes, health = known["probes"], known["health"]
        fits = all(isinstance(word, str) for words in [*commands, probes, [health]] for word in words)
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise Failure("project", f"project.json is not usable: {error!r}") from error
    if not fits or not all(path.startswith("/") for path in [health, *probes]):
        raise Failure("project", "project.json is not usable: commands are lists of texts, probes are paths")
    return known
