"""docs/clients.md, made of what each client was seen to do (seen.json) and of what is known of it (client.toml)."""

import json

from catalogue import HERE, SCENARIOS

DOCUMENT = HERE.parent.parent / "docs" / "clients.md"


def seen(client):
    path = client.folder / "seen.json"
    return json.loads(path.read_text()) if path.exists() else {}


def keep(client, observed):
    observed["version"] = client.pinned()
    ordered = {name: observed[name] for name in ("version", *SCENARIOS) if name in observed}
    (client.folder / "seen.json").write_text(json.dumps(ordered, indent=2, ensure_ascii=False) + "\n")


def render(clients):
    lines = ["# Clients", ""]
    for client in clients:
        lines += [f"## {client.name}", "", "```json", json.dumps(seen(client), indent=2, ensure_ascii=False), "```", ""]
    return "\n".join(lines)
