"""Nothing that the relay says holds a secret. (Every other relay of these tests is searched too, as it stops.)"""

from harness import leaks, two_hops, wait_for


def test_no_secret_in_logs_errors_metrics_or_probes(aws, start_relay):
    relay = start_relay(aws, denied=two_hops(aws, aws.locked_role_arn, "guessed"))
    wait_for(lambda: relay.ask_for("payments")[0] == 200, "the profile is served")
    first = aws.expiries()
    wait_for(lambda: relay.ask_for("denied")[0] == 403, "the denial reaches the endpoint")

    path, token = "/v1/credentials/payments", relay.token("payments")
    assert relay.ask(path)[0] == 401
    assert relay.ask(path, Authorization=token[:-1])[0] == 401
    assert relay.ask(path, Authorization=relay.token("denied"))[0] == 401
    assert relay.ask(path, Authorization=token, Host="rebound.example")[0] == 403
    assert relay.ask(path, **{"Authorization": token, "X-Forwarded-For": "192.0.2.1"})[0] == 403
    assert relay.ask(path, "POST", Authorization=token)[0] == 405
    assert relay.ask("/v1/credentials/nobody", Authorization=token)[0] in (401, 404)
    wait_for(lambda: set(aws.expiries()) - set(first), "a rotation happens")
    for probe in ("/livez", "/readyz", "/startupz", "/metrics"):
        relay.ask_admin(probe)
    for arguments in (["status"], ["get", "denied", "--format", "process"], ["check", "--connect"]):
        said = relay.command(*arguments).communicate(timeout=60)
        assert said[0] or said[1], f"{arguments} says nothing"
        relay.heard.extend(said)

    assert relay.stop()[0] == 0
    assert relay.leaks() == []


def test_the_search_finds_what_it_is_for(aws):
    secret = aws.base["secret_access_key"]
    found = leaks([f'{{"message":"{secret[3:22]}"}}', "nothing here"], [secret])
    assert len(found) == 1
    assert secret[3:22] not in found[0]
