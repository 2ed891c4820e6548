"""One client on the bench: how it is started, what it is given, and how its calls are judged."""

import json

from endpoint import Endpoint
from harness import environment, http_get
from running import plain, start


class Cannot(Exception):
    """The client does not do it. The text is what it says."""

    def __init__(self, text, answer):
        super().__init__(text)
        self.answer = answer


class Bench:
    """One client, a home folder of its own for each start, and the servers of the run."""

    def __init__(self, client, servers, folder):
        self.client, self.servers, self.folder = client, servers, folder
        self._started = 0

    def start(self, aws, **given):
        """Starts the client with the variables of the contract and these. The caller stops it."""

        self._started += 1
        home = self.folder / f"home-{self._started}"
        home.mkdir()
        region = {"AWS_REGION": aws.region, "AWS_DEFAULT_REGION": aws.region}
        places = {"endpoint": aws.endpoint, "bucket": aws.bucket, "region": aws.region, "home": home}
        places["host"] = aws.endpoint.removeprefix("http://")
        asked = {"CLIENT_ENDPOINT": aws.endpoint, "CLIENT_BUCKET": aws.bucket, "CLIENT_CALL": self.client.call}
        words, own = self.client.run_with(**places)
        fixed = {"AWS_ENDPOINT_URL": aws.endpoint, "AWS_EC2_METADATA_DISABLED": "true"}
        variables = environment(home, **{**fixed, **region, **asked, **given, **own})
        log = self.folder / f"client-{self._started}.log"
        return start(self.client, words, variables, log)

    def seen(self, text, refusal=None, **known):
        """An error, without what changes from run to run, nor the relay's own words in it."""

        known = {"home": self.folder, "aws": self.servers.calm.endpoint, "checkout": self.client.folder, **known}
        if refusal:
            known |= {"the_relay's_answer": refusal, "the_relay's_reason": json.loads(refusal)["message"]}
        return plain(text, cache=self.client.built(), **known)


def container(bench, server, file=None, token=None):
    """The variables of the endpoint, be it the relay's or the scripted one: with the token's file, unless the client is too
    old for it, or with the token itself."""

    if isinstance(server, Endpoint):
        uri, known = server.uri, server.token_file
    else:
        uri, known = f"{server.endpoint}/v1/credentials/app", server.token_path("app")
    given = {"AWS_CONTAINER_CREDENTIALS_FULL_URI": uri}
    if token is None and file is None and bench.client.token == "inline":
        token = known.read_text()
    if token is not None:
        return {**given, "AWS_CONTAINER_AUTHORIZATION_TOKEN": token}
    return {**given, "AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE": str(file or known)}


def chain(aws):
    return [{"role_arn": aws.hub_role_arn}, {"role_arn": aws.files_role_arn}]


def must(bench, answer):
    if not answer.ok:
        raise Cannot(bench.seen(answer.error), answer)
    return answer


def right(answer, requests, issued):
    """Every request of a call was signed with a key that the relay handed out, by the client's word and by the journal."""

    assert requests, "the call was not seen at the test AWS"
    used = {request["access_key_id"] for request in requests}
    assert used <= issued, f"signed with {used}, which the relay did not hand out"
    assert answer.key is None or answer.key in used, f"it says {answer.key}, and signed with {used}"
    refused = [request for request in requests if request["status"] >= 400 and request["status"] != 404]
    assert not refused, refused
    return used


def issued_by(aws):
    return {entry["access_key_id"] for entry in aws.journal("issued", role_arn=aws.files_role_arn)}


def counted(relay, decision):
    """How many requests for the profile have had an outcome, by the relay's metrics."""

    label = f'credential_relay_requests_total{{profile="app",decision="{decision}"}} '
    text = http_get(f"{relay.admin}/metrics")[2]
    return int(float(text.partition(label)[2].partition("\n")[0] or 0))


def refusals(relay):
    return counted(relay, "uninitialized") + counted(relay, "unavailable")
