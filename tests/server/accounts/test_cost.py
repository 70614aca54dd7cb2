"""Bills: exact against fractions and decimals, never over what was set aside, the same again from what is stored."""

from __future__ import annotations

from datetime import date
from decimal import ROUND_HALF_UP, Decimal, localcontext
from fractions import Fraction
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from triptych.server.accounts.cost import (
    PER,
    Band,
    Part,
    Price,
    Quantities,
    cost,
    from_json,
    lines,
    part,
    to_json,
    total,
    usd_float,
    worst,
)

NAMES = Quantities.__struct_fields__
DOLLAR = 10**9
REPLICATE = Price((part("input", 50_000_000), part("output", 250_000_000)), "Replicate", "replicate/llava", None)
RUNWARE = Price((part("caption", 1_900_000, Band("output_tokens", 80, 100)),))

nanos = st.integers(0, 100 * DOLLAR)
counts = st.integers(0, 50_000_000)
# Whatever a settlement may bring, also what no engine would count: more cached tokens than there are.
quantities = st.builds(
    Quantities, prompt_tokens=counts, cached_tokens=counts, image_tokens=counts, completion_tokens=st.integers(0, 500),
    images=st.integers(0, 20), captions=st.integers(0, 20), calls=st.integers(0, 20), seconds_us=counts,
)  # fmt: skip


@st.composite
def prices(draw: Any) -> Price:
    units = draw(st.lists(st.sampled_from(sorted(set(PER) - {"caption"})), unique=True))
    parts = [part(unit, draw(nanos)) for unit in units]
    ends = draw(st.lists(st.integers(0, 300), unique=True, max_size=4))
    parts += [part("caption", draw(nanos), Band("output_tokens", 0, most)) for most in ends]
    if draw(st.booleans()):
        parts.append(part("caption", draw(nanos)))
    source, route, seen = draw(st.text(max_size=20)), draw(st.none() | st.just("a/b")), draw(st.none() | st.dates())
    return Price(tuple(parts), source, route, seen)


# ---- exactness ------------------------------------------------------------------------------------------------------


@given(prices(), quantities)
def test_a_bill_is_the_sum_of_its_lines_rounded_once_to_the_nearest(price, used):
    bill = lines(price, used)
    exact = sum((Fraction(line.nano * line.quantity, line.per) for line in bill), Fraction())
    found = cost(price, used)
    assert found == total(bill)
    assert Fraction(-1, 2) <= exact - found < Fraction(1, 2)


@given(nanos, nanos, nanos, counts, counts, counts)
def test_tokens_cost_what_decimal_arithmetic_says(input, cached, output, prompt, read, made):
    price = Price((part("input", input), part("cached_read", cached), part("output", output)))
    read = min(read, prompt)
    used = Quantities(prompt, read, prompt // 2, made, calls=1)
    with localcontext() as context:
        context.prec = 60
        million = Decimal(1_000_000)
        dollars = (Decimal(input) * (prompt - read) + Decimal(cached) * read + Decimal(output) * made) / million
        assert cost(price, used) == int(dollars.quantize(Decimal(1), ROUND_HALF_UP))


def test_halves_go_up_and_are_not_added_up_from_rounded_lines():
    price = Price((Part("input", 1, 2), Part("output", 1, 2)))
    assert cost(price, Quantities(prompt_tokens=1)) == 1
    assert cost(price, Quantities(prompt_tokens=1, completion_tokens=1)) == 1
    assert [line.exact for line in lines(price, Quantities(1, 0, 0, 1))] == [Fraction(1, 2)] * 2


def test_the_captions_of_the_page_cost_what_it_says():
    """About $0.00017 by Replicate's tokens, $0.0019 by Runware's caption."""
    used = Quantities(prompt_tokens=2940, image_tokens=2880, completion_tokens=100, images=1, captions=1, calls=1)
    assert cost(REPLICATE, used) == 172_000
    assert cost(RUNWARE, used) == 1_900_000
    assert [line.arithmetic for line in lines(REPLICATE, used)] == [
        "2,940 input tokens x $0.05 / 1M = $0.000147", "100 output tokens x $0.25 / 1M = $0.000025",
    ]  # fmt: skip


def test_time_is_charged_to_the_microsecond():
    used = Quantities(seconds_us=1_500_001)
    assert cost(Price((part("gpu_second", 1_100_000),)), used) == 1_650_001
    by_hour = Price((part("gpu_hour", 36 * DOLLAR),))
    assert cost(by_hour, used) == 15_000_010
    assert lines(by_hour, used)[0].arithmetic == "1.500001 s x $36.00 / 3,600 s = $0.01500001"


# ---- what is paid, and that nothing is paid twice -------------------------------------------------------------------


def test_cached_tokens_cost_the_cached_price_or_that_of_all_others():
    used = Quantities(prompt_tokens=1000, cached_tokens=800)
    assert cost(Price((part("input", DOLLAR),)), used) == 1_000_000
    assert cost(Price((part("input", DOLLAR), part("cached_read", DOLLAR // 10))), used) == 280_000


def test_tokens_of_images_that_are_paid_by_the_image_are_paid_once():
    used = Quantities(prompt_tokens=600, cached_tokens=590, image_tokens=576, completion_tokens=10, images=2)
    price = Price((part("input", DOLLAR), part("image", DOLLAR)))
    assert cost(price, used) == 24_000 + 2 * DOLLAR
    cached = Price((*price.components, part("cached_read", 0)))
    assert cost(cached, used) == 2 * DOLLAR


def test_a_caption_that_has_a_price_is_paid_by_it_alone():
    own = Price((part("input", DOLLAR), part("output", DOLLAR), part("call", DOLLAR), part("caption", 7)))
    used = Quantities(prompt_tokens=600, completion_tokens=10, images=1, captions=1, calls=1)
    assert cost(own, used) == 7
    assert cost(own, Quantities(prompt_tokens=600, completion_tokens=10, images=1, calls=1)) == 610_000 + DOLLAR


def test_captions_are_calls_where_calls_are_paid():
    by_call = Price((part("call", 6_000_000),))
    assert cost(by_call, Quantities(captions=2, calls=2)) == cost(by_call, Quantities(captions=2)) == 12_000_000


@pytest.mark.parametrize("tokens", [1, 79, 80, 100, 128, 100_000])
def test_a_price_with_one_band_is_for_captions_of_every_length(tokens):
    assert cost(RUNWARE, Quantities(completion_tokens=tokens, captions=1, calls=1)) == 1_900_000
    assert cost(RUNWARE, Quantities(completion_tokens=2 * tokens, captions=2, calls=2)) == 3_800_000


def test_where_only_captions_have_a_price_every_call_is_one():
    """A route that sells captions is not free for those who ask through another API."""
    assert cost(RUNWARE, Quantities(prompt_tokens=9, completion_tokens=9, calls=1)) == 1_900_000


def test_of_several_bands_the_first_counts_that_reaches_as_far():
    bands = [(0, 50, 1), (60, 100, 2), (101, 200, 3)]
    price = Price(tuple(part("caption", nano, Band("output_tokens", *ends)) for *ends, nano in reversed(bands)))
    lengths = (0, 50, 51, 100, 101, 200, 999)
    found = [cost(price, Quantities(completion_tokens=tokens, captions=1)) for tokens in lengths]
    assert found == [1, 1, 2, 2, 3, 3, 3]


def test_without_a_price_everything_is_free_and_says_so():
    nothing = Price(source="not priced")
    assert (cost(nothing, Quantities(*[9] * 8)), worst(nothing, Quantities(*[9] * 8)), nothing.priced) == (0, 0, False)
    free = Price((part("input", 0),))
    assert (cost(free, Quantities(9)), free.priced) == (0, True)


@given(prices(), quantities, quantities)
def test_what_was_used_in_two_parts_costs_the_same_together(price, first, second):
    """To the nano-dollar that each rounds by; but for captions, of which bands may make others."""
    price = Price(tuple(each for each in price.components if each.unit not in ("caption", "image", "call")))
    first, second = (
        Quantities(each.prompt_tokens, min(each.cached_tokens, each.prompt_tokens), 0, each.completion_tokens,
                   seconds_us=each.seconds_us) for each in (first, second)
    )  # fmt: skip
    assert abs(cost(price, first) + cost(price, second) - cost(price, first + second)) <= 1


# ---- what is set aside ----------------------------------------------------------------------------------------------


@given(prices(), quantities, st.data())
def test_nothing_costs_more_than_the_worst_of_what_it_may_use(price, most, data):
    used = Quantities(*(data.draw(st.integers(0, getattr(most, name))) for name in NAMES))
    assert cost(price, used) <= worst(price, most)
    assert cost(price, most) <= worst(price, most)


def test_the_worst_is_what_can_really_come_about():
    most = Quantities(prompt_tokens=1000, cached_tokens=400, completion_tokens=100, captions=1, calls=1)
    dearer = Price((part("input", DOLLAR), part("cached_read", 2 * DOLLAR)))
    assert worst(dearer, most) == cost(dearer, most) == 1_400_000
    cheaper = Price((part("input", DOLLAR), part("cached_read", 0)))
    assert worst(cheaper, most) == 1_000_000
    ends = ((50, 5), (99, 9), (200, 1))
    bands = Price(tuple(part("caption", nano, Band("output_tokens", 0, end)) for end, nano in ends))
    assert worst(bands, most) == 9
    assert worst(bands, Quantities(completion_tokens=50, captions=1)) == 5
    assert worst(RUNWARE, Quantities(completion_tokens=4096, calls=1)) == 1_900_000
    # What may be captions may come to nothing but tokens, and the other way round.
    either = Price((part("caption", 500_000), part("input", DOLLAR)))
    assert worst(either, Quantities(prompt_tokens=1000, captions=1, calls=1)) == 1_000_000
    assert worst(either, Quantities(prompt_tokens=100, captions=1, calls=1)) == 500_000


# ---- what is stored, and what is refused ----------------------------------------------------------------------------


@given(prices(), quantities)
def test_a_bill_is_the_same_from_the_price_that_was_stored(price, used):
    again = from_json(to_json(price))
    assert again == price
    assert lines(again, used) == lines(price, used)


def test_a_stored_price_is_small_and_plain():
    seen = Price((part("input", 50_000_000),), "Replicate", "replicate/llava", date(2026, 4, 19))
    assert to_json(seen) == (
        '{"components":[{"unit":"input","nano":50000000,"per":1000000}],"source":"Replicate","route":"replicate/llava",'
        '"seen":"2026-04-19"}'
    )


@pytest.mark.parametrize(
    "text",
    [
        "", "[]", "{", '{"x":1}', '{"components":[{"unit":"input","nano":-1,"per":1}]}',
        '{"components":[{"unit":"input","nano":1,"per":0}]}', '{"components":[{"unit":"input","nano":0.5,"per":1}]}',
        '{"components":[{"unit":"luck","nano":1,"per":1}]}',
        '{"components":[{"unit":"cached_write","nano":1,"per":1}]}',
        '{"components":[{"unit":"call","nano":1,"per":1},{"unit":"call","nano":2,"per":1}]}',
        '{"components":[{"unit":"input","nano":1,"per":1,"band":{"of":"output_tokens","least":1,"most":2}}]}',
    ],
)  # fmt: skip
def test_what_is_no_price_is_refused(text):
    with pytest.raises(msgspec.DecodeError):
        from_json(text)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("value", [-1, 1.0, True, None, "1"])
def test_quantities_are_whole_and_never_negative(name, value):
    with pytest.raises(ValueError, match=name):
        Quantities(**{name: value})


@given(st.integers(0, 10**15))
def test_dollars_as_a_number_are_the_nearest_there_is(nano):
    assert usd_float(nano) == float(Decimal(nano) / DOLLAR)
