"""Every client through every scenario, given nothing but the environment.

What is seen must be what its seen.json says, of which docs/clients.md is made; UPDATE_GOLDEN=1 writes both.
"""

import asking
import catalogue
import document
import scenarios
from bench import Cannot


def test_client(client, scenario, bench):
    reason = client.cannot.get(scenario)
    try:
        run = getattr(asking if scenario in ("storms", "window") else scenarios, scenario)
        observed = run(bench)
    except Cannot as cannot:
        assert reason, f"{client.name} cannot: {cannot}"
        observed = {"cannot": str(cannot)}
    else:
        assert not reason, f"{client.name} can, though client.toml says that it cannot: {reason}"
    known = document.seen(client)
    if document.UPDATE:
        document.keep(client, {**known, scenario: observed})
    else:
        assert observed == known.get(scenario), f"{client.name}: not what {client.id}/seen.json says"


def test_the_document_is_what_was_seen():
    if document.UPDATE:
        document.write()
    assert document.DOCUMENT.read_text() == document.render(catalogue.clients()), "run `make clients` with UPDATE_GOLDEN=1"


def test_what_was_seen_is_of_the_pinned_versions():
    """Debian's packages alone may be newer than those that were seen."""

    run = [client for client in catalogue.clients() if client.kind != "absent"]
    pinned = [client for client in run if not isinstance(client.version, dict) or "debian" not in client.version]
    stale = {client.id: client.pinned() for client in pinned if document.seen(client)["version"] != client.pinned()}
    assert stale == {}, "run `make clients` with UPDATE_GOLDEN=1"


def test_the_guide_quotes_what_was_seen():
    """docs/troubleshooting.md: each symptom in the first column of its tables is what a client said, word for word."""

    symptoms = [found for line in document.GUIDE.read_text().splitlines() for found in document.symptoms(line)]
    assert len(symptoms) > 20
    said = [text for client in catalogue.clients() for _, text in document.errors(document.seen(client))]
    unseen = [symptom for symptom in symptoms if not any(document.says(text, symptom) for text in said)]
    assert unseen == []
