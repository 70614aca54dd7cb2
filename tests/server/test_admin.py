"""What operators see and order, over HTTP and from the command line."""

import json
import urllib.error
import urllib.request

import pytest
from click.testing import CliRunner
from servers import null_models, serving

from triptych.cli import main
from triptych.server.app import Options


@pytest.fixture(scope="module")
def server():
    with serving(null_models()) as running:
        yield running


def run(*words):
    return CliRunner().invoke(main, list(words))


def models(server):
    with urllib.request.urlopen(f"{server.url}/triptych/v1/models", timeout=20) as answer:
        return {model["name"]: model for model in json.load(answer)["models"]}


def order(server, path):
    request = urllib.request.Request(f"{server.url}/triptych/v1{path}", method="POST")
    with urllib.request.urlopen(request, timeout=20) as answer:
        return json.load(answer)


def test_a_model_is_started_seen_and_stopped(server):
    assert models(server)["eye"]["state"] == "stopped"
    started = order(server, "/models/org/eye/start")  # by an alias
    assert (started["name"], started["state"]) == ("eye", "ready")
    assert list(started["phases"]) == ["process", "load"]
    assert started["pid"] == models(server)["eye"]["pid"]
    listed = run("ps", "--url", server.url).output
    assert [line.split()[:2] for line in listed.splitlines()][1:] == [["eye", "ready"], ["text", "stopped"]]
    assert json.loads(run("ps", "--url", server.url, "--json").output)[0]["weight_bytes"] == 1000
    assert run("stop", "llava", "--url", server.url).output == "eye is stopped\n"
    assert models(server)["eye"]["pid"] is None


def test_what_is_not_there_is_said_so(server):
    answer = run("stop", "nobody", "--url", server.url)
    assert answer.exit_code == 1
    assert "The model 'nobody' does not exist" in answer.output
    answer = run("ps", "--url", "http://127.0.0.1:9")
    assert answer.exit_code == 1
    assert "no server at http://127.0.0.1:9" in answer.output
    with pytest.raises(urllib.error.HTTPError, match="405"):
        urllib.request.urlopen(f"{server.url}/triptych/v1/models/eye/stop", timeout=20)


def test_operators_need_the_key_as_well():
    with serving(null_models(), options=Options(keys=("secret",), drain=1)) as server:
        assert "didn't provide an API key" in run("ps", "--url", server.url).output
        assert run("ps", "--url", server.url, "--key", "secret").exit_code == 0
