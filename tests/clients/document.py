"""docs/clients.md, made of what each client was seen to do (seen.json) and of what is known of it (client.toml)."""

import json
import os
import re

from catalogue import AROUND, HERE, SCENARIOS, clients

DOCUMENT = HERE.parent.parent / "docs" / "clients.md"
GUIDE = DOCUMENT.with_name("troubleshooting.md")
UPDATE = os.environ.get("UPDATE_GOLDEN") == "1"
WIDTH = 300

HEAD = """\
# Clients

What SDKs and tools do with the relay, given nothing but the [variables of the endpoint](../README.md#beside-an-application). `make clients`
runs every one of them against it and a test AWS, compares what it sees with what is written here, and fails where that differs:
[tests/clients](../tests/clients) has the programs. Symptoms and what to do are in [troubleshooting.md](troubleshooting.md).

- **Rotations**: by the token's file, keys that live for 8 s are replaced twice, and no call fails.
- **Inline token**: the same token in `AWS_CONTAINER_AUTHORIZATION_TOKEN`, without a file.
- **Dead proxy**: `HTTP_PROXY` and `HTTPS_PROXY` lead nowhere, `NO_PROXY` is the endpoint's.
- **First second**: the relay holds nothing yet, and answers 503 after it has held the request for 0.8 s. Where the first call fails, the
  next one works.
- **Asks anew**: with how much time left it fetches a credential again. What was measured lies between two values that were tried.
- **GETs per 100 calls** of one process, with a credential that has 60, 20, 12 and 4 minutes left. The relay answers from memory; an hour's
  credential is renewed before 30 minutes are left, so it is the first figure that is met, and the second where a lifetime is below 50
  minutes.
- **Tells why**: whether its error has the relay's reason, here for a wrong token. Where it has not, the relay's log has.
"""

SAYS = """\
What is wrong is one thing at a time: the *wrong token* in the file, or inline; *no variables* of the endpoint at all; *no relay*, so nobody
listens; *no token* but the endpoint's address; *no file* where the variable says that the token is; *a newline* behind the token in it.
`<the relay's answer>` and `<the relay's reason>` stand for the relay's own words, and of a long text the middle is left out: the whole is in
the client's `seen.json`.
"""

COLUMNS = ("client", "version", "rotations", "inline token", "dead proxy", "first second", "asks anew", "GETs, 60 · 20 · 12 · 4 min", "tells why")


def seen(client):
    path = client.folder / "seen.json"
    return json.loads(path.read_text()) if path.exists() else {}


def keep(client, observed):
    observed["version"] = client.pinned()
    ordered = {name: observed[name] for name in ("version", *SCENARIOS, "around") if name in observed}
    (client.folder / "seen.json").write_text(json.dumps(ordered, indent=2, ensure_ascii=False) + "\n")


def write():
    DOCUMENT.write_text(render(clients()))


def render(known):
    run = [client for client in known if client.kind != "absent"]
    absent = [client for client in known if client.kind == "absent"]
    return "\n".join(
        [
            HEAD,
            f"{len(run)} clients are run. What *by another way* and *no* mean is told of each below.",
            "",
            row(COLUMNS),
            row("---" for _ in COLUMNS),
            *(row(cells(client, seen(client))) for client in run),
            "",
            "## What each needs, and says",
            "",
            SAYS,
            *(line for client in run for line in section(client, seen(client))),
            *(line for line in not_run(absent)),
        ]
    )


def row(texts):
    return "| " + " | ".join(text.replace("|", "\\|") for text in texts) + " |"


def cells(client, observed):
    if client.around:
        return f"[{client.name}](#{anchor(client)})", observed["version"], "by another way", *("",) * 6
    storms = observed["storms"]
    counts = "no" if "cannot" in storms else " · ".join(str(count) for count in storms.values())
    return (
        f"[{client.name}](#{anchor(client)})",
        observed["version"],
        *(verdict(observed[name]) for name in ("rotations", "inline", "proxy", "late")),
        observed["window"] if isinstance(observed["window"], str) else "no",
        counts,
        "yes" if "<the relay's" in told(observed["refused"]) else "no",
    )


def verdict(outcome):
    if outcome == "works":
        return "yes"
    if "first" in outcome:
        return "at the next call"
    if "only" in outcome:
        return "this alone"
    return "credentials" if "credentials only" in outcome else "no"


def told(outcome):
    return outcome if isinstance(outcome, str) else next(iter(outcome.values()))


def anchor(client):
    kept = "".join(letter for letter in client.name.lower() if letter.isalnum() or letter in " -_")
    return kept.replace(" ", "-")


def section(client, observed):
    lines = [f"### {client.name}", ""]
    lines += [f"- Needs {client.needs}."] if client.needs else []
    lines += [f"- By its source it asks anew at {client.window}."] if client.window else []
    if client.around:
        lines += [f"- Cannot ask the endpoint: {client.cannot['rotations']}. It works by {AROUND[client.around]}."]
    else:
        lines += [f"- No for {heading(name)}: {reason}" for name, reason in client.cannot.items()]
    lines += [f"- {trap.replace(' -> ', ' → ', 1)}" for trap in client.traps]
    said = dict(errors(observed))
    lines += [""] if len(lines) > 2 else []
    lines += [row(("what is wrong", "what it says")), row(("---", "---"))]
    return [*lines, *(row((what, quoted(text))) for what, text in said.items()), ""]


def errors(observed):
    """What was wrong and what the client said of it, once for each that it said."""

    for name in ("rotations", "inline", "proxy", "late", "refused"):
        if observed.get(name, "works") != "works":
            yield heading(name), told(observed[name])
    mistakes = observed.get("mistakes", {})
    for text in dict.fromkeys(mistakes.values()):
        yield ", ".join(name for name in mistakes if mistakes[name] == text), text


def heading(name):
    return {"inline": "inline token", "proxy": "dead proxy", "late": "first second", "refused": "wrong token"}.get(name, name)


def quoted(text):
    """A text in the width that a table has: of a long one the beginning and the end, or what is about the relay."""

    if text == "works":
        return "works"
    if len(text) > WIDTH:
        at = text.find("<the relay's")
        beginning, end = (text[: WIDTH // 3], text[at - WIDTH // 3 :]) if at > WIDTH else (text[: WIDTH // 2], text)
        text = f"{beginning} … {end[-WIDTH // 2 :] if at < WIDTH else end[: WIDTH * 2 // 3]}"
    return f"`` {text} ``"


def not_run(absent):
    if not absent:
        return []
    lines = ["## Not run", "", row(("client", "why", "what its source says")), row(("---",) * 3)]
    return lines + [row((client.name, client.why, client.instead)) for client in absent] + [""]


def symptoms(line):
    """What the first cell of a table's line quotes."""

    return re.findall(r"`([^`]+)`", line.split(" | ")[0]) if line.startswith("| `") else []


def says(text, symptom):
    """Whether a text has the pieces of a symptom, which … parts, in their order."""

    return re.search(".*".join(map(re.escape, symptom.split("…"))), text) is not None
