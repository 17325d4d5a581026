"""An agent that runs outside of Sluice and serves `documentation`. README.md says how to start it."""

import asyncio
import json
import os
from datetime import datetime, timezone

import nats

AGENT, WORKER = "documentation", f"python-{os.getpid()}"


async def work(payload, key):  # `key` is the same at every attempt: pass it on to whatever you change
    await asyncio.sleep(payload.get("seconds", 0))
    return {"page": f"# {payload['topic']}", "key": key}


async def serve(nc, message):
    command = json.loads(message.data)
    mine = {name: command[name] for name in ("v", "command_id", "workflow_id", "fence")}
    mine |= {"worker_id": WORKER, "started_at": datetime.now(timezone.utc).isoformat()}

    async def ask(verb):
        subject = f"sluice.{verb}.{AGENT}.{command['workflow_id']}"
        return json.loads((await nc.request(subject, json.dumps(mine).encode(), timeout=10)).data)

    if command["claim"]:  # refused: no fence, nothing is begun, and the command comes again
        mine["fence"] = (await ask("claim"))["fence"]
    job = asyncio.create_task(work(command["payload"], command["idempotency_key"]))
    while not (await asyncio.wait([job], timeout=command["lease_ms"] / 3000))[0]:
        await asyncio.gather(ask("heartbeat"), message.in_progress())
    mine |= {"status": "ok", "output": job.result(), "finished_at": datetime.now(timezone.utc).isoformat()}
    print(mine["command_id"], await ask("result"))  # answered when it is recorded
    await message.ack()  # so this comes last


async def main():
    nc = await nats.connect(os.environ["SLUICE_NATS_URL"])
    queue = await nc.jetstream().pull_subscribe(f"sluice.step.{AGENT}", durable=AGENT)
    while True:
        print(await asyncio.gather(serve(nc, *await queue.fetch(timeout=None)), return_exceptions=True))


asyncio.run(main())
