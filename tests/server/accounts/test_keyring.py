"""Who is let in, by which key, and for how long."""

import asyncio
import hashlib
from dataclasses import replace
from functools import partial

import pytest
from hypothesis import given
from hypothesis import strategies as st
from keyholders import new_key

from triptych.server.accounts import keyring as module
from triptych.server.accounts.errors import KeysUnknownError, WrongKeyError
from triptych.server.accounts.keyring import Keyring
from triptych.server.accounts.secret import new_secret, start_of, well_formed
from triptych.server.accounts.sessions import COOKIE, Sessions
from triptych.server.store import keys as statements
from triptych.server.store.ids import now_us
from triptych.server.store.store import StoreError


def refused(keyring, key):
    with pytest.raises(WrongKeyError) as error:
        keyring.bearer(key)
    return error.value


_KEY = new_secret()  # the same in every example: what is drawn depends on it


@given(st.data())
def test_a_key_with_a_slip_is_found_without_a_look_at_any_key(data):
    key = _KEY
    assert well_formed(key)
    place = data.draw(st.integers(0, len(key) - 1))
    other = data.draw(st.sampled_from("0aZ_-").filter(lambda letter: letter != key[place]))
    assert not well_formed(key[:place] + other + key[place + 1 :])
    assert not well_formed(key[:-1])
    assert not well_formed(key + "0")


def test_without_keys_everybody_is_let_in_and_with_one_nobody_without_it():
    keyring = Keyring()
    assert keyring.bearer("").admin
    assert keyring.bearer("whatever clients must send").id == ""
    secret = new_secret()
    keyring.take([new_key(secret, admin=True)])
    assert keyring.bearer(secret).admin
    assert not refused(keyring, "").given
    assert refused(keyring, "whatever clients must send").given
    assert "slip" in str(refused(keyring, secret[:-1]))


def test_taking_the_last_key_away_opens_nothing():
    keyring, secret = Keyring(), new_secret()
    keyring.take([new_key(secret, revoked_us=now_us())])
    assert "revoked" in str(refused(keyring, secret))
    refused(keyring, "")


def test_an_open_door_lets_everybody_in_and_still_knows_who_has_a_key():
    keyring, secret = Keyring(open_door=True), new_secret()
    keyring.take([new_key(secret)])
    assert keyring.bearer("").id == keyring.bearer("something else").id == ""
    assert keyring.bearer(secret).id != ""


def test_a_key_ends_when_it_expires_and_an_earlier_secret_when_its_time_is_over(monkeypatch):
    keyring, first, second, now = Keyring(), new_secret(), new_secret(), now_us()
    before = new_key(first)
    keyring.take([before])
    rotated = new_key(second, earlier=before.hash, earlier_until_us=now + 10**6, expires_us=now + 10**9)
    keyring.take([rotated])
    assert keyring.bearer(first) == keyring.bearer(second)
    monkeypatch.setattr(module, "now_us", lambda: now + 2 * 10**6)
    assert "replaced" in str(refused(keyring, first))
    assert keyring.bearer(second).id == rotated.id
    monkeypatch.setattr(module, "now_us", lambda: now + 10**9)
    assert "expired" in str(refused(keyring, second))


def test_keys_of_the_settings_are_administrators_and_keep_the_owner_they_had():
    keyring = Keyring(("first key", "second key"))
    caller = keyring.bearer("first key")
    assert caller.admin
    assert caller.id == hashlib.sha256(b"first key").hexdigest()[:24]
    assert keyring.bearer("second key").id != caller.id
    refused(keyring, "third key")


async def test_servers_hear_of_keys_that_others_change(store):
    here, there = Keyring(store=store), Keyring(store=store)
    await here.start()
    await there.start()
    secret = new_secret()
    record = new_key(secret)
    await store.write(partial(statements.add, record=record))
    await there.look()
    assert there.bearer(secret).id == record.id
    changed = await store.write(partial(statements.change, key_id=record.id, now_us=now_us(), revoked_us=now_us()))
    here.take([changed])
    await there.look()
    for keyring in (here, there):
        assert "revoked" in str(refused(keyring, secret))
        await keyring.stop()
    # It is for ever.
    assert await store.write(partial(statements.change, key_id=record.id, now_us=now_us(), revoked_us=None)) is None


async def test_while_the_database_is_away_keys_stay_good_for_the_grace(store, monkeypatch):
    secret = new_secret()
    await store.write(partial(statements.add, record=new_key(secret)))
    keyring = Keyring(("of the settings",), store, grace=0.2)
    await keyring.start()

    async def away(work):
        raise StoreError("away")

    monkeypatch.setattr(store, "read", away)
    monkeypatch.setattr(module, "_LOOK_EVERY", 0.05)
    assert keyring.bearer(secret).key is not None
    await asyncio.sleep(0.3)
    with pytest.raises(KeysUnknownError):
        keyring.bearer(secret)
    assert keyring.bearer("of the settings").admin
    await keyring.stop()


def cookie_of(header):
    return {"cookie": header.partition(";")[0]}


async def test_a_browser_stays_signed_in_until_its_key_is_changed_or_taken_away(store):
    keyring, secret = Keyring(("of the settings",)), new_secret()
    record = new_key(secret)
    keyring.take([record])
    sessions = Sessions(keyring, store)
    await sessions.start()
    cookie = sessions.cookie(keyring.bearer(secret), secure=True)
    assert "HttpOnly" in cookie
    assert "SameSite=Strict" in cookie
    assert "Secure" in cookie
    assert secret not in cookie
    assert record.hash not in cookie
    again = Sessions(keyring, store)  # after a restart
    await again.start()
    assert again.caller(cookie_of(cookie)).id == record.id
    assert again.caller(cookie_of(sessions.cookie(keyring.bearer("of the settings"), False))).admin
    assert Sessions(keyring).caller(cookie_of(cookie)) is None, "made by another server"
    tampered = cookie.replace(record.id, keyring.bearer("of the settings").id)
    for wrong in (tampered, f"{COOKIE}=x", f"{COOKIE}=a.b.c", f"{COOKIE}=..", "other=1", "\x00"):
        assert sessions.caller(cookie_of(wrong)) is None
    keyring.take([new_key(new_secret(), earlier=record.hash)])
    assert sessions.caller(cookie_of(cookie)).id == record.id
    keyring.take([replace(record, revoked_us=now_us())])
    assert sessions.caller(cookie_of(cookie)) is None


def test_a_key_shows_only_how_it_begins():
    key = new_secret()
    assert key.startswith("tp_")
    assert len(start_of(key)) == 9
