"""Signatures are what other people's libraries verify."""

from __future__ import annotations

import base64
from datetime import UTC, datetime

import pytest
from replicate.webhook import InvalidSignatureError, Webhooks, WebhookSigningSecret
from standardwebhooks import Webhook, WebhookVerificationError

from triptych.server.delivery import signing

BODY = '{"id": "x", "output": ["Grüße"]}'


def now() -> int:
    return int(datetime.now(UTC).timestamp())


def test_secrets_are_what_the_specification_and_clients_ask_for() -> None:
    made = {signing.new_secret() for _ in range(300)}
    assert len(made) == 300
    for secret in made:
        assert secret.count("_") == 1  # what Replicate's client splits it at
        assert 24 <= len(base64.b64decode(secret.removeprefix("whsec_"), validate=True)) <= 64


def test_the_vector_of_the_specification() -> None:
    headers = signing.headers(
        ["whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"], "msg_p5jXN8AQM9LWM0D4loKWxJek", 1614265330, b'{"test": 2432232314}'
    )
    assert headers["webhook-signature"] == "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="


@pytest.mark.parametrize("count", [1, 2])
def test_both_libraries_accept_it_with_each_secret(count: int) -> None:
    secrets = [signing.new_secret() for _ in range(count)]
    headers = signing.headers(secrets, "m1", now(), BODY.encode())
    assert len(headers["webhook-signature"].split(" ")) == count
    for secret in secrets:
        assert Webhook(secret).verify(BODY, headers) == {"id": "x", "output": ["Grüße"]}
        Webhooks.validate(headers=headers, body=BODY, secret=WebhookSigningSecret(key=secret), tolerance=60)


@pytest.mark.parametrize("changed", ["body", "id", "time", "secret"])
def test_both_libraries_refuse_what_was_changed(changed: str) -> None:
    secret = signing.new_secret()
    sent = now()
    headers = signing.headers([secret], "m1", sent, BODY.encode())
    body = BODY + " " if changed == "body" else BODY
    headers |= {"webhook-id": "m2"} if changed == "id" else {}
    headers |= {"webhook-timestamp": str(sent - 1)} if changed == "time" else {}
    key = signing.new_secret() if changed == "secret" else secret
    with pytest.raises(WebhookVerificationError):
        Webhook(key).verify(body, headers)
    with pytest.raises(InvalidSignatureError):
        Webhooks.validate(headers=headers, body=body, secret=WebhookSigningSecret(key=key))
