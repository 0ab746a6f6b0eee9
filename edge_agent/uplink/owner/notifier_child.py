"""The child that sends one message to the owner's services by Apprise, and prints the names of those that took it.

Reads one JSON object from stdin: services (name → URL), title, body. It holds no key, opens no file of ours, and keeps
nothing.
"""

import json
import sys
from concurrent.futures import ThreadPoolExecutor, as_completed

import apprise

MAX_JOB_BYTES = 1 << 18


def main() -> int:
    """Send; exit 0 where every service took it."""
    job = json.loads(sys.stdin.buffer.read(MAX_JOB_BYTES))
    services: dict[str, str] = job["services"]
    if not services:
        return 0
    with ThreadPoolExecutor(len(services)) as pool:
        attempts = {pool.submit(_send, url, job["title"], job["body"]): name for name, url in services.items()}
        taken = 0
        for attempt in as_completed(attempts):
            if attempt.exception() is None and attempt.result():
                print(attempts[attempt], flush=True)
                taken += 1
    return 0 if taken == len(services) else 1


def _send(url: str, title: str, body: str) -> bool:
    # In memory: Apprise would otherwise keep tokens and a cache in the home folder.
    asset = apprise.AppriseAsset(async_mode=False, storage_mode=apprise.PersistentStoreMode.MEMORY, app_id="edge-agent")
    service = apprise.Apprise(asset=asset)
    return bool(service.add(url) and service.notify(title=title, body=body, body_format=apprise.NotifyFormat.TEXT))


if __name__ == "__main__":
    sys.exit(main())
