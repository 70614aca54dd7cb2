from __future__ import annotations

import pytest

from triptych import Constraint, SamplingParams
from triptych.engine.errors import ParameterError
from triptych.parameters import sampling_params


def test_options_go_over_the_given_parameters():
    base = SamplingParams(max_tokens=7, temperature=0.5)
    assert sampling_params(base, {"temperature": 1.0}) == SamplingParams(max_tokens=7, temperature=1.0)
    assert sampling_params(None, {}) == SamplingParams()


def test_single_stops_become_sequences():
    params = sampling_params(None, {"stop": "END", "stop_token_ids": 5})
    assert (params.stop, params.stop_token_ids) == (("END",), (5,))
    assert sampling_params(None, {"stop": ["a", "b"]}).stop == ("a", "b")
    assert sampling_params(SamplingParams(stop=("x",)), {"stop": None}).stop == ()


def test_constraints_have_short_names():
    assert sampling_params(None, {"choice": ["yes", "no"]}).constraint == Constraint("choice", ["yes", "no"])
    assert sampling_params(None, {"json_object": True}).constraint == Constraint("json_object", True)
    assert sampling_params(None, {"json_object": False, "regex": None}).constraint is None


@pytest.mark.parametrize(
    ("options", "name", "cause"),
    [
        ({"temprature": 1}, "temprature", "unknown sampling parameter 'temprature'; there are max_tokens,"),
        ({"temperature": -1}, "temperature", "temperature must be a number from 0"),
        ({"max_tokens": 0}, "max_tokens", "at least 1"),
        ({"regex": "a", "choice": ["a"]}, "regex", "only one constraint"),
        ({"regex": "a", "constraint": Constraint("json_object")}, "regex", "only one constraint"),
        ({"stop": ""}, "stop", "non-empty"),
    ],
)
def test_mistakes_are_named(options, name, cause):
    with pytest.raises(ParameterError, match=cause) as caught:
        sampling_params(None, options)
    assert caught.value.name == name
