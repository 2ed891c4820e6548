"""The test AWS itself: what the other tests prove rests on its refusing a session that has ended."""

import pytest
from botocore.exceptions import ClientError

from harness import SESSION_SECONDS, wait_for


def assume(aws, caller, role_arn, **more):
    answer = caller.assume_role(RoleArn=role_arn, RoleSessionName="test", **more)["Credentials"]
    keys = (answer["AccessKeyId"], answer["SecretAccessKey"], answer["SessionToken"])
    return answer, keys


def refusal(call, *arguments, **named):
    with pytest.raises(ClientError) as caught:
        call(*arguments, **named)
    answer = caught.value.response
    return answer["ResponseMetadata"]["HTTPStatusCode"], answer["Error"]["Code"]


def test_a_session_is_refused_from_its_expiry_on(aws):
    hub, hub_keys = assume(aws, aws.client("sts", **aws.base), aws.hub_role_arn, DurationSeconds=3600)
    spoke, spoke_keys = assume(
        aws, aws.client("sts", *hub_keys), aws.spoke_role_arn, ExternalId=aws.external_id, DurationSeconds=900
    )
    as_spoke = aws.client("sts", *spoke_keys)
    assert as_spoke.get_caller_identity()["Account"] == aws.spoke_account
    assert aws.client("s3", *spoke_keys).list_buckets()["Buckets"]

    key = spoke["AccessKeyId"]
    (ended,) = wait_for(
        lambda: aws.journal("ended", access_key_id=key), "the session has ended", SESSION_SECONDS + 5
    )
    assert ended["at"] >= spoke["Expiration"].timestamp()
    assert refusal(as_spoke.get_caller_identity) == (403, "ExpiredToken")
    (last, *_) = reversed(aws.journal("request", access_key_id=key))
    assert last["status"] == 403


def test_each_hop_allows_only_what_it_should(aws):
    base = aws.client("sts", **aws.base)
    denied = (403, "AccessDenied")
    assert refusal(base.assume_role, RoleArn=aws.spoke_role_arn, RoleSessionName="test") == denied
    assert refusal(aws.client("iam", **aws.base).list_users) == denied

    _, hub_keys = assume(aws, base, aws.hub_role_arn)
    hub = aws.client("sts", *hub_keys)
    to_spoke = {"RoleArn": aws.spoke_role_arn, "RoleSessionName": "test"}
    assert refusal(hub.assume_role, **to_spoke) == denied
    assert refusal(hub.assume_role, **to_spoke, ExternalId="another") == denied

    _, spoke_keys = assume(aws, hub, aws.spoke_role_arn, ExternalId=aws.external_id)
    assert refusal(aws.client("iam", *spoke_keys).list_users) == denied
    access_key_id, secret_access_key, session_token = spoke_keys
    assert refusal(aws.client("sts", access_key_id, secret_access_key + "x", session_token).get_caller_identity) == (
        403,
        "SignatureDoesNotMatch",
    )
