"""Where settings come from, what is refused, what is never shown, and that the page about them is true."""

from __future__ import annotations

import re
import subprocess
import sys
from dataclasses import fields
from ipaddress import ip_network
from pathlib import Path

import pytest

from triptych import embedded
from triptych.engine.config import EngineConfig
from triptych.server import model_settings, settings
from triptych.server.settings import Settings, SettingsError, load, variable, written

PAGE = (Path(__file__).parents[2] / "docs/settings.md").read_text()
SECRET = "sk-do-not-show-me"


@pytest.fixture
def toml(tmp_path):
    """Writes a settings file and returns its path."""

    def write(text: str) -> Path:
        path = tmp_path / "server.toml"
        path.write_text(text)
        return path

    return write


def refused(path=None, environ=None, options=None) -> str:
    with pytest.raises(SettingsError) as error:
        load(path, environ or {}, options)
    message = str(error.value)
    assert "\n" not in message
    assert SECRET not in message
    return message


# ---- where values come from -----------------------------------------------------------------------------------------


def test_without_a_file_the_embedded_models_are_served(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    found = load(environ={})
    assert found == Settings()
    assert found.file is None
    assert [model.name for model in found.models] == [model.model for model in found.models] == list(embedded.NAMES)
    assert (found.host, found.port, found.source("port")) == ("127.0.0.1", 8000, "default")


def test_variables_go_over_the_file_and_options_over_both(toml):
    path = toml('port = 1\nmax_queue = 2\nlog_level = "debug"\nmax_body = "2M"')
    environ = {"TRIPTYCH_MAX_QUEUE": "3", "TRIPTYCH_LOG_LEVEL": "error"}
    found = load(path, environ, {"log_level": "warning", "host": None, "keys": ()})
    assert (found.port, found.max_queue, found.log_level, found.max_body) == (1, 3, "warning", 2 << 20)
    assert {key: found.source(key) for key in ("port", "max_queue", "log_level", "host", "keys")} == {
        "port": str(path),
        "max_queue": "TRIPTYCH_MAX_QUEUE",
        "log_level": "--log-level",
        "host": "default",
        "keys": "default",
    }


def test_the_file_is_the_argument_or_the_variable_or_the_one_that_is_here(toml, monkeypatch, tmp_path):
    path = toml("port = 1")
    other = tmp_path / "other.toml"
    other.write_text("port = 2")
    (tmp_path / "triptych.toml").write_text("port = 3")
    monkeypatch.chdir(tmp_path)
    assert load(path, {"TRIPTYCH_CONFIG": str(other)}).port == 1
    assert load(environ={"TRIPTYCH_CONFIG": str(other)}).port == 2
    here = load(environ={"TRIPTYCH_CONFIG": ""})
    assert (here.port, here.source("port"), here.file) == (3, "triptych.toml", Path("triptych.toml"))
    monkeypatch.setenv("TRIPTYCH_PORT", "4")
    assert load().port == 4


def test_every_setting_can_be_written_as_text():
    text = {
        "host": "[::1]", "port": "9", "models": "triptych/tiny-mixtral, sums=triptych/tiny-mixtral", "preload": "yes",
        "idle_unload": "600", "memory_limit": "1.5G", "keys": "a, b", "max_body": "10MB", "max_images": "3",
        "fetch_seconds": "2.5", "fetch_bytes": "1000", "allow_networks": "10.0.0.0/8,fd00::/8",
        "allow_hosts": "Files.Local., other", "max_queue": "1", "drain_seconds": "0", "data": "/srv/data",
        "cors_origins": "https://a.example, http://localhost:3000", "log_level": "error", "log_format": "json",
        "log_content": "1", "webhook_http": "on", "retention": "3600", "max_upload": "1G",
        "database": "postgres://me:word@host/triptych", "storage": "s3://shelf/a", "prices": "free",
        "refresh_prices": "none", "price_lists": "litellm, /srv/list.json",
    }  # fmt: skip
    found = load(environ={variable(key): value for key, value in text.items()})
    assert (found.host, found.port, found.preload, found.idle_unload) == ("::1", 9, True, 600.0)
    assert (found.memory_limit, found.max_body, found.fetch_bytes) == (3 << 29, 10 << 20, 1000)
    assert [(model.name, model.model) for model in found.models][1] == ("sums", "triptych/tiny-mixtral")
    assert (found.keys, found.allow_hosts) == (("a", "b"), ("files.local", "other"))
    assert found.allow_networks == (ip_network("10.0.0.0/8"), ip_network("fd00::/8"))
    assert found.cors_origins == ("https://a.example", "http://localhost:3000")
    assert (found.drain_seconds, found.data, found.log_content) == (0.0, Path("/srv/data"), True)
    assert (found.webhook_http, found.retention) == (True, 3600.0)
    assert (found.max_upload, found.storage) == (1 << 30, "s3://shelf/a")
    assert (found.prices, found.refresh_prices) == ("free", None)
    assert found.price_lists == ("litellm", "/srv/list.json")
    assert found.database == "postgresql://me:word@host/triptych"
    assert written("database", found.database) == "postgresql://me:***@host/triptych"
    assert set(text) == set(settings.KINDS) - {"keys_file", "no_auth"}


@pytest.mark.parametrize("value", ["0", "none"])
def test_none_is_written_as_0_or_none(value, toml):
    assert load(environ={"TRIPTYCH_IDLE_UNLOAD": value, "TRIPTYCH_MEMORY_LIMIT": value}) == load(environ={})
    path = toml('idle_unload = 5\nmemory_limit = "8G"')
    assert load(path, {"TRIPTYCH_IDLE_UNLOAD": value, "TRIPTYCH_MEMORY_LIMIT": value}).memory_limit is None
    assert load(toml('idle_unload = 0\nmemory_limit = "none"'), {}).idle_unload is None


def test_empty_and_foreign_variables_are_left_alone():
    links = {
        "TRIPTYCH_PORT": "tcp://10.0.0.1:80",
        "TRIPTYCH_PORT_80_TCP_ADDR": "10.0.0.1",
        "TRIPTYCH_SERVICE_HOST": "10.0.0.1",
        "TRIPTYCH_DB_SERVICE_PORT_SQL": "5432",
        "TRIPTYCH_DB_PORT": "tcp://10.0.0.2:5432",
    }
    others = dict.fromkeys(settings.OTHER_VARIABLES[1:], "x")
    assert load(environ={"TRIPTYCH_KEYS": "", "HOME": "/", **links, **others}) == load(environ={})


def test_paths_in_a_file_begin_at_the_file(toml, tmp_path):
    (tmp_path / "keys.txt").write_text(f"# mine\n{SECRET}\n\nsecond\n")
    (tmp_path / "models/mine").mkdir(parents=True)
    (tmp_path / "mine.jinja").write_text("{{ messages }}")
    path = toml('keys_file = "keys.txt"\ndata = "data"\n[[models]]\nname = "mine"\nmodel = "models/mine"\n'
                'chat_template = "mine.jinja"')
    found = load(path, {})
    assert (found.keys, found.data) == ((SECRET, "second"), tmp_path / "data")
    assert found.source("keys") == str(tmp_path / "keys.txt")
    assert found.models[0].model == str(tmp_path / "models/mine")
    assert found.models[0].options == {"chat_template": "{{ messages }}"}
    assert load(environ={"TRIPTYCH_DATA": "data"}).data == Path("data")
    both = load(path, {"TRIPTYCH_KEYS": "third,second"})
    assert both.keys == ("third", "second", SECRET)
    assert both.source("keys") == f"TRIPTYCH_KEYS and {tmp_path / 'keys.txt'}"


def test_the_server_needs_no_torch_to_read_count_and_log():
    code = "import sys, triptych.server.settings, triptych.server.logs, triptych.server.metrics; print(*sys.modules)"
    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60).stdout
    assert not {"torch", "numpy", "PIL"} & set(loaded.split())


# ---- models ---------------------------------------------------------------------------------------------------------


def test_models_with_options_and_upstreams(toml):
    path = toml("""
        [[models]]
        name = "sums"
        model = "triptych/tiny-mixtral"
        aliases = ["mixtral", "math"]
        precision = "int8"
        kv_memory = "64M"
        max_context = 128
        prefix_cache = false
        preload = true

        [[models]]
        name = "big"
        aliases = ["llava"]
        upstream = { base_url = "http://gpu:8001/v1/", key_env = "GPU_KEY", model = "llava-hf/llava-1.5-13b-hf" }

        [[models]]
        name = "llava-hf/llava-v1.6-mistral-7b-hf"
        chat_template = "mistral"
    """)
    sums, big, hub = load(path, {"GPU_KEY": SECRET}).models
    assert (sums.model, sums.aliases, sums.preload) == ("triptych/tiny-mixtral", ("mixtral", "math"), True)
    assert sums.options == {"precision": "int8", "kv_memory": 64 << 20, "max_context": 128, "prefix_cache": False}
    EngineConfig(model=Path("x"), **sums.options)
    assert big.upstream is not None
    assert (big.model, big.upstream.base_url, big.upstream.key) == ("", "http://gpu:8001/v1", SECRET)
    assert big.upstream.model == "llava-hf/llava-1.5-13b-hf"
    assert (hub.model, hub.options, hub.upstream) == (hub.name, {"chat_template": "mistral"}, None)


def test_models_may_be_words_or_json():
    tables = '[{"name": "sums", "model": "triptych/tiny-mixtral", "threads": 1}]'
    assert load(environ={"TRIPTYCH_MODELS": tables}).models[0].options == {"threads": 1}
    given = load(environ={}, options={"models": ("triptych/tiny-mixtral", "b=triptych/tiny-llava-1.5")})
    assert [model.name for model in given.models] == ["triptych/tiny-mixtral", "b"]


def test_an_upstream_may_hold_its_key_and_has_the_models_own_name(toml):
    path = toml(f'[[models]]\nname = "big"\nupstream = {{ base_url = "https://gpu/v1", key = "{SECRET}" }}')
    [model] = load(path, {}).models
    assert model.upstream is not None
    assert (model.upstream.model, model.upstream.key) == ("big", SECRET)


def test_the_options_of_a_model_are_the_engines():
    elsewhere = {"model", "name", "cache_dir", "max_waiting"}
    assert set(model_settings.OPTION_KINDS) == {item.name for item in fields(EngineConfig)} - elsewhere


@pytest.mark.parametrize(
    ("table", "problem"),
    [
        ('model = "triptych/tiny-mixtral"', "models[0] needs a name"),
        ('name = "a b"', "models.a b.name must be a name without spaces, not 'a b'"),
        ('name = "nonsense"', "models.nonsense.model cannot be used: no model is called 'nonsense'"),
        ('name = "a/b"\nprecison = "int8"', "unknown setting models.a/b.precison; did you mean precision?"),
        ('name = "a/b"\nprecision = "int3"', "models.a/b.precision must be one of auto, stored,"),
        ('name = "a/b"\nthreads = true', "models.a/b.threads must be a whole number of at least 1, not True"),
        ('name = "a/b"\nchat_template = "missing.jinja"', "not 'missing.jinja' (No such file or directory)"),
        ('name = "a/b"\naliases = ["c", "a/b"]', "have the name a/b twice: of a/b and of a/b"),
        ('name = "a/b"\nupstream = "http://x"', "models.a/b.upstream must be a table with a base_url"),
        ('name = "a/b"\nupstream = {}', "models.a/b.upstream.base_url must be a URL"),
        ('name = "a/b"\nupstream = { url = "http://x" }', "unknown setting models.a/b.upstream.url"),
        (f'name = "a/b"\nupstream = {{ base_url = "http://u:{SECRET}@x/v1" }}', "must hold no password"),
        ('name = "a/b"\nupstream = { base_url = "http://x", kind = "tgi" }', "upstream.kind must be one of auto,"),
        (f'name = "a/b"\nupstream = {{ base_url = ["{SECRET}"] }}', "models.a/b.upstream.base_url must be text"),
        (f'name = "a/b"\nupstream = {{ base_url = "http://x", key = "a {SECRET}" }}', "upstream.key must be a key"),
        ('name = "a/b"\nupstream = { base_url = "http://x", key_env = "NONE" }', "key_env names NONE, a variable that"),
        ('name = "a/b"\nupstream = { base_url = "http://x", key = "k", key_env = "NONE" }', "leave one out"),
        ('name = "a/b"\nupstream = { base_url = "http://x" }\npreload = true', "models.a/b.preload is for models that"),
    ],
)
def test_what_is_wrong_with_a_model(toml, table, problem):
    path = toml(f"[[models]]\n{table}")
    message = refused(path)
    assert message.startswith(f"{path}: ")
    assert problem in message


def test_two_models_may_not_have_one_name(toml):
    path = toml('[[models]]\nname = "a/b"\n[[models]]\nname = "c/d"\naliases = ["a/b"]')
    assert "models have the name a/b twice: of a/b and of c/d" in refused(path)


# ---- what is refused ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("prot = 1", "unknown setting prot; did you mean port?"),
        ("[log]\nlevel = 1", "unknown setting log; did you mean log_level?"),
        ("zzz = 1", "unknown setting zzz; there are host, port, models"),
        ('port = "8000"', "port must be a whole number from 0 to 65535, not '8000'"),
        ("port = 70000", "port must be a whole number from 0 to 65535, not 70000"),
        ("port = true", "port must be a whole number"),
        ("host = ''", "host must be an address or a host name, not ''"),
        ("host = 'http://x'", "host must be an address"),
        ("preload = 1", "preload must be true or false, not 1"),
        ("memory_limit = false", "memory_limit must be a size in bytes"),
        ("memory_limit = '8 apples'", 'such as 1048576, 512M or 8G, or 0 or "none" for no limit'),
        ("max_body = 0", "max_body must be a size"),
        ("fetch_seconds = 0", "fetch_seconds must be seconds, above 0, not 0"),
        ("idle_unload = -1", "idle_unload must be seconds, 0 or more"),
        ("drain_seconds = inf", "drain_seconds must be seconds"),
        ("allow_networks = ['10.0.0.1/8']", "allow_networks must be a list, each a network such as"),
        ("allow_networks = '10.0.0.0/8'", "allow_networks must be a list"),
        ("allow_hosts = ['http://x']", "allow_hosts must be a list, each a host name"),
        ("cors_origins = ['https://x/']", "cors_origins must be a list, each an origin"),
        ("log_level = 'loud'", "log_level must be one of debug, info, warning, error, not 'loud'"),
        ("data = 3", "data must be a path"),
        (f"data = ['{'x' * 500}']", "x..."),
        ("models = []", "models must be tables [[models]], each with a name"),
        (f"keys = '{SECRET}'", "keys must be a list, each a key: ASCII"),
        (f"keys = ['a {SECRET}']", "keys must be a list"),
        ("port = [", "not valid TOML: Invalid value (at end of document)"),
        ("keys_file = 'none.txt'", "cannot be read (No such file or directory)"),
    ],
)
def test_what_is_wrong_in_a_file(toml, text, problem):
    path = toml(text)
    message = refused(path)
    assert message.startswith(f"{path}: ")
    assert problem in message
    assert len(message) < 500


@pytest.mark.parametrize(
    ("name", "value", "problem"),
    [
        ("TRIPTYCH_PROT", "1", "unknown variable TRIPTYCH_PROT; did you mean TRIPTYCH_PORT?"),
        ("TRIPTYCH_KEY", SECRET, "unknown variable TRIPTYCH_KEY; did you mean TRIPTYCH_KEYS?"),
        ("TRIPTYCH_port", "1", "unknown variable TRIPTYCH_port"),
        ("TRIPTYCH_PORT", "many", "TRIPTYCH_PORT: port must be a whole number from 0 to 65535, not 'many'"),
        ("TRIPTYCH_PRELOAD", "maybe", "TRIPTYCH_PRELOAD: preload must be true or false, not 'maybe'"),
        ("TRIPTYCH_KEYS", f"a {SECRET}", "TRIPTYCH_KEYS: keys must be a list"),
        ("TRIPTYCH_MODELS", f'[{{"key": "{SECRET}"', "TRIPTYCH_MODELS: models must be"),
        ("TRIPTYCH_CONFIG", "missing.toml", "missing.toml: the settings cannot be read (No such file"),
    ],
)
def test_what_is_wrong_in_a_variable(name, value, problem):
    assert problem in refused(environ={name: value})


def test_what_is_wrong_in_options_and_files_that_cannot_be_read(tmp_path):
    assert refused(options={"prot": 1}).startswith("--prot: unknown setting prot; did you mean port?")
    assert refused(options={"port": -1}).startswith("--port: port must be")
    assert "cannot be read" in refused(tmp_path)
    (tmp_path / "latin.toml").write_bytes(b"host = '\xff'")
    assert "not UTF-8" in refused(tmp_path / "latin.toml")


@pytest.mark.parametrize(("content", "problem"), [("# none\n", "there is no key"), (f"two {SECRET}", "line 1 must be")])
def test_a_file_without_keys_is_an_error_not_an_open_server(tmp_path, content, problem):
    path = tmp_path / "keys"
    path.write_text(content)
    assert problem in refused(environ={"TRIPTYCH_KEYS_FILE": str(path)})


def test_keys_and_no_auth_contradict_each_other(toml):
    message = refused(toml("no_auth = true"), {"TRIPTYCH_KEYS": SECRET})
    assert message.startswith("keys (TRIPTYCH_KEYS) and no_auth (")


@pytest.mark.parametrize("host", ["127.0.0.1", "127.8.8.8", "localhost", "::1", "::ffff:127.0.0.1"])
def test_loopback_needs_no_key(host):
    assert Settings(host=host).binding_error() is None


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.168.1.5", "server.example", "::ffff:10.0.0.1", "0"])
def test_elsewhere_somebody_must_say_who_may_come_in(host):
    settings = load(environ={"TRIPTYCH_HOST": host})
    error = settings.binding_error()
    assert isinstance(error, SettingsError)
    assert str(error).startswith(f"TRIPTYCH_HOST: host {host} can be reached from other machines")
    assert Settings(host=host, keys=("k",)).binding_error() is None
    assert Settings(host=host, no_auth=True).binding_error() is None


# ---- what is shown --------------------------------------------------------------------------------------------------


def test_no_key_is_ever_shown(toml):
    path = toml(f'keys = ["{SECRET}", "other"]\n[[models]]\nname = "m"\n'
                f'upstream = {{ base_url = "http://gpu/v1", key = "{SECRET}" }}')
    found = load(path, {})
    assert found.shown()["keys"] == "set (2)"
    assert found.shown()["models"][0]["upstream"]["key"] == "set"
    assert ("keys", "set (2)", str(path)) in found.rows()
    assert ("models", "m at http://gpu/v1 (key set) as m", str(path)) in found.rows()
    assert SECRET not in f"{found!r} {found} {found.shown()} {found.rows()} {found.models}"
    assert found.secrets == (SECRET, "other", SECRET)
    assert ("keys", "not set", "default") in Settings().rows()


def test_a_model_in_one_line(toml):
    path = toml('[[models]]\nname = "sums"\nmodel = "triptych/tiny-mixtral"\naliases = ["a", "b"]\nkv_memory = "64M"\n'
                'threads = 2\npreload = true\nchat_template = """{{ messages }}\nand more, so that it is long"""')
    [line] = [value for key, value, _ in load(path, {}).rows() if key == "models"]
    assert line == (
        "sums = triptych/tiny-mixtral threads=2 kv_memory=64M chat_template=(43 characters) aliases=a,b preload"
    )


# ---- the page -------------------------------------------------------------------------------------------------------


def test_every_setting_has_a_kind_and_every_kind_a_setting():
    assert tuple(settings.KINDS) == tuple(item.name for item in fields(Settings))[:-2]


def test_the_page_has_every_setting_with_its_variable_and_default():
    page = re.findall(r"^\| `(\w+)` \| `(TRIPTYCH_\w+)` \| ([^|]+) \| .{10,} \|$", PAGE, re.MULTILINE)
    defaults = Settings()
    expected = []
    for key in settings.KINDS:
        default = "the embedded ones" if key == "models" else f"`{written(key, getattr(defaults, key))}`"
        expected.append((key, variable(key), default.replace(str(Path.home()), "~")))
    assert page == expected


def test_the_page_has_every_key_of_a_model_and_of_an_upstream():
    for heading, keys in (
        ("Models", model_settings.MODEL_KEYS),
        ("Models that another server answers for", tuple(model_settings.UPSTREAM_KINDS)),
    ):
        section = PAGE.partition(f"## {heading}\n")[2].partition("\n## ")[0]
        assert sorted(re.findall(r"^\| `(\w+)` \|", section, re.MULTILINE)) == sorted(keys)
    assert all(f"`{name}`" in PAGE for name in settings.OTHER_VARIABLES if name != "TRIPTYCH_DEMO_ARGS")


def test_the_example_of_the_page_is_a_settings_file(tmp_path):
    [example] = re.findall(r"```toml\n(.*?)```", PAGE, re.DOTALL)
    path = tmp_path / "triptych.toml"
    path.write_text(example)
    (tmp_path / "keys.txt").write_text("one\ntwo\n")
    found = load(path, {"GPU_BOX_KEY": "three"})
    assert len(found.models) == 3
    assert found.binding_error() is None
