"""Wrong keys by the address that they come from: refused unseen beyond a burst, and nobody else suffers."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from triptych.server.accounts.attempts import Attempts, TooManyAttemptsError, address_of
from triptych.server.accounts.errors import WrongKeyError


class Door:
    """Keys that are right, and how often anybody looked."""

    def __init__(self, *right: str, **limits: float) -> None:
        self.now = 0.0
        self.looks = 0
        self.right = right
        self.attempts = Attempts(clock=lambda: self.now, **limits)

    def knock(self, key: str, host: str = "192.0.2.1") -> str:
        def find() -> str:
            self.looks += 1
            if key not in self.right:
                raise WrongKeyError(bool(key))
            return key

        try:
            return self.attempts.look({"client": (host, 1)}, key, find)
        except WrongKeyError:
            return "wrong"
        except TooManyAttemptsError as error:
            return "refused" if error.retry_after >= 1 else "refused for no time"


def test_a_flood_is_refused_unseen_and_goes_on_slowly():
    door = Door(burst=3, every=2.0)
    assert [door.knock(f"guess {number}") for number in range(100)] == ["wrong"] * 3 + ["refused"] * 97
    assert door.looks == 3
    door.now = 1.9
    assert door.knock("guess") == "refused"
    door.now = 2.0
    assert [door.knock("guess"), door.knock("guess")] == ["wrong", "refused"]
    door.now = 1000.0
    assert [door.knock("guess") for _ in range(4)] == ["wrong"] * 3 + ["refused"]


def test_who_was_let_in_before_is_not_locked_out_by_a_neighbour():
    door = Door("good", "new", burst=3)
    assert door.knock("good") == "good"
    for _ in range(10):
        door.knock("guess")
    assert door.knock("good") == "good"
    assert door.knock("new") == "refused"  # it cannot be told from a guess that is right
    assert door.knock("new", "192.0.2.2") == "new"
    door.right = ()  # a key that was taken away is wrong, whatever it was
    assert [door.knock("good") for _ in range(2)] == ["wrong", "refused"]


def test_no_key_is_no_guess():
    door = Door("good", burst=2)
    assert [door.knock("") for _ in range(10)] == ["wrong"] * 10
    assert door.knock("good") == "good"
    for _ in range(3):
        door.knock("guess")
    assert door.knock("") == "wrong"


def test_an_address_says_whether_it_is_slowed():
    door = Door(burst=1)
    scope = {"client": ("192.0.2.1", 1)}
    assert not door.attempts.slowed(scope)
    door.knock("guess")
    assert door.attempts.slowed(scope)
    assert not door.attempts.slowed({"client": ("192.0.2.2", 1)})


@given(hosts=st.lists(st.integers(0, 40), max_size=200))
def test_the_tables_are_bounded(hosts):
    door = Door("good", burst=1, most=8)
    for host in hosts:
        door.knock("guess", str(host))
        door.knock("good", str(host))
    assert len(door.attempts._wrong) <= 8
    assert len(door.attempts._right) <= 8


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        ("2001:db8::1", "2001:db8::ffff:1", True), ("2001:db8::1", "2001:db8:0:1::1", False),
        ("::ffff:192.0.2.1", "192.0.2.1", True), ("::ffff:192.0.2.1", "::ffff:192.0.2.2", False),
        ("fe80::1%eth0", "fe80::2%eth1", True), ("192.0.2.1", "192.0.2.2", False),
    ],
)  # fmt: skip
def test_a_machine_is_one_address(one, other, same):
    assert (address_of({"client": (one, 1)}) == address_of({"client": (other, 2)})) is same


def test_a_socket_without_an_address_has_one_too():
    assert address_of({}) == address_of({"client": None}) == ""
