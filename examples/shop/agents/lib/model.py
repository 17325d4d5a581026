"""A model behind an OpenAI-compatible API, if one is configured."""

import json
import os
import urllib.error
import urllib.request

from lib.protocol import one_line

SECONDS = 60
MAX_ANSWER_BYTES = 1024 * 1024


def is_configured():
    """Whether there is one to ask."""
    return bool(os.environ.get("SLUICE_LLM_BASE_URL") and os.environ.get("SLUICE_LLM_MODEL"))


def ask(system, question):
    """The JSON object that the model answers, or a dict with `error`: advice is never vital."""
    body = {
        "model": os.environ["SLUICE_LLM_MODEL"],
        "temperature": 0.2,
        "messages": [{"role": "system", "content": system}, {"role": "user", "content": question}],
    }
    headers = {"Content-Type": "application/json"}
    if os.environ.get("SLUICE_LLM_API_KEY"):
        headers["Authorization"] = f"Bearer {os.environ['SLUICE_LLM_API_KEY']}"
    url = os.environ["SLUICE_LLM_BASE_URL"].rstrip("/") + "/chat/completions"
    try:
        request = urllib.request.Request(url, json.dumps(body).encode(), headers)
        with urllib.request.urlopen(request, timeout=SECONDS) as reply:
            said = json.loads(reply.read(MAX_ANSWER_BYTES))["choices"][0]["message"]["content"]
        answer = json.loads(said[said.index("{") : said.rindex("}") + 1])
        return answer if isinstance(answer, dict) else {"error": "the answer is no JSON object"}
    except (OSError, ValueError, KeyError, IndexError, TypeError) as error:
        # Its message may quote the address, which may hold a password.
        reason = f"HTTP {error.code}" if isinstance(error, urllib.error.HTTPError) else type(error).__name__
        return {"error": one_line(reason, 100)}
