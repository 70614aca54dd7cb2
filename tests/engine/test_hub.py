"""Downloads from a stand-in hub: what is fetched, what is resumed, and what the errors say."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from checkpoints import make_llama
from hub_server import Hub, serve

from triptych.engine.checkpoints import hub as hub_module
from triptych.engine.checkpoints import transfer as transfer_module
from triptych.engine.checkpoints.checkpoint import ModelConfig
from triptych.engine.checkpoints.hub import download
from triptych.engine.checkpoints.shards import stored_tensors
from triptych.engine.errors import DownloadError, UnsupportedModelError

REPO = "people/llama"
SHARD = "model-00002-of-00004.safetensors"


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    folder = make_llama(tmp_path_factory.mktemp("llama"), max_shard_size="150KB")
    content = {file.name: file.read_bytes() for file in sorted(folder.iterdir())}
    extra = ("consolidated.safetensors", "consolidated.00.pt", "pytorch_model-00001-of-00001.bin", "README.md")
    return content | dict.fromkeys(extra, b"x" * 10)


@pytest.fixture
def hub(files: dict[str, bytes], monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Hub]:
    monkeypatch.setattr(transfer_module, "PAUSE", 0)
    with serve(Hub({REPO: dict(files)})) as running:
        monkeypatch.setenv("HF_ENDPOINT", running.url)
        monkeypatch.setenv("HF_TOKEN", "hf_secret")
        yield running


def test_only_needed_files_arrive_and_are_whole(hub: Hub, files: dict[str, bytes], tmp_path: Path) -> None:
    told: list[tuple[int, int]] = []
    folder = download(REPO, progress=lambda done, total: told.append((done, total)), cache_dir=tmp_path)

    names = {file.name for file in folder.iterdir()}
    assert SHARD in names
    assert {"config.json", "tokenizer.json", "tokenizer_config.json", "model.safetensors.index.json"} <= names
    assert not names & {"consolidated.safetensors", "consolidated.00.pt", "README.md"}
    assert not any(name.endswith(".bin") for name in names)
    assert all((folder / name).read_bytes() == files[name] for name in names)
    total = sum(len(files[name]) for name in names)
    assert told[-1] == (total, total)
    assert stored_tensors(folder)
    assert ModelConfig.from_folder(folder).architecture == "llama"


def test_the_second_time_nothing_is_asked(hub: Hub, tmp_path: Path) -> None:
    first = download(REPO, cache_dir=tmp_path)
    hub.requests.clear()
    assert download(REPO, cache_dir=tmp_path) == first
    assert hub.requests == []
    assert download(REPO, refresh=True, cache_dir=tmp_path) == first
    assert [path for path, _, _ in hub.requests] == [f"/api/models/{REPO}/revision/main"]


def test_other_tools_find_the_files_in_the_cache(hub: Hub, tmp_path: Path) -> None:
    from huggingface_hub import try_to_load_from_cache

    folder = download(REPO, cache_dir=tmp_path)
    assert try_to_load_from_cache(REPO, SHARD, cache_dir=tmp_path) == str(folder / SHARD)


def test_a_broken_connection_is_taken_up_where_it_broke(
    hub: Hub, files: dict[str, bytes], tmp_path: Path
) -> None:
    hub.cut[SHARD] = [1000, 2000]
    told: list[tuple[int, int]] = []
    folder = download(REPO, progress=lambda done, total: told.append((done, total)), cache_dir=tmp_path)
    assert hub.asked_for(SHARD) == [None, "bytes=1000-", "bytes=3000-"]
    assert (folder / SHARD).read_bytes() == files[SHARD]
    assert told[-1][0] == told[-1][1]


def test_a_killed_download_resumes_in_the_next_process(
    hub: Hub, files: dict[str, bytes], tmp_path: Path
) -> None:
    hub.cut[SHARD] = [5000, 0, 0, 0, 0, 0]
    with pytest.raises(DownloadError, match=r"broke off after 5000 of \d+ bytes .*run it again to resume"):
        download(REPO, cache_dir=tmp_path)
    hub.cut.clear()
    hub.requests.clear()
    folder = download(REPO, cache_dir=tmp_path)
    assert hub.asked_for(SHARD) == ["bytes=5000-"]
    assert (folder / SHARD).read_bytes() == files[SHARD]
    assert not list(tmp_path.rglob("*.incomplete"))


def test_a_server_without_ranges_starts_again(hub: Hub, files: dict[str, bytes], tmp_path: Path) -> None:
    hub.ignore_ranges = True
    hub.cut[SHARD] = [1000]
    assert (download(REPO, cache_dir=tmp_path) / SHARD).read_bytes() == files[SHARD]


def test_damage_on_the_way_is_noticed(hub: Hub, files: dict[str, bytes], tmp_path: Path) -> None:
    hub.damage.add(SHARD)
    with pytest.raises(DownloadError, match="damaged"):
        download(REPO, cache_dir=tmp_path)
    assert (download(REPO, cache_dir=tmp_path) / SHARD).read_bytes() == files[SHARD]


def test_the_token_is_not_shown_to_content_servers(hub: Hub, tmp_path: Path) -> None:
    download(REPO, cache_dir=tmp_path)
    assert {token for path, _, token in hub.requests if not path.startswith("/cdn/")} == {"Bearer hf_secret"}
    assert {token for path, _, token in hub.requests if path.startswith("/cdn/")} == {None}


def test_an_unsupported_model_is_refused_before_its_weights_come(hub: Hub, tmp_path: Path) -> None:
    config = json.loads(hub.repositories[REPO]["config.json"])
    hub.repositories[REPO]["config.json"] = json.dumps(config | {"model_type": "gpt2"}).encode()
    with pytest.raises(UnsupportedModelError, match="'gpt2' is not supported"):
        download(REPO, cache_dir=tmp_path)
    assert hub.asked_for(SHARD) == []


def test_pickled_weights_are_not_fetched(hub: Hub, tmp_path: Path) -> None:
    hub.repositories["lm/vicuna"] = {"config.json": b"{}", "pytorch_model-00001-of-00002.bin": b"x"}
    with pytest.raises(UnsupportedModelError, match=r"no safetensors weights .*pytorch_model"):
        download("lm/vicuna", cache_dir=tmp_path)


@pytest.mark.parametrize(
    ("repo", "revision", "message"),
    [
        ("people/nothing", None, r"not found on http://127.0.0.1.*check the name"),
        ("people/secret", None, "is gated: accept its licence"),
        (REPO, "v9", r"has no revision 'v9'"),
    ],
)
def test_errors_name_cause_and_way_out(
    hub: Hub, repo: str, revision: str | None, message: str, tmp_path: Path
) -> None:
    hub.gated.add("people/secret")
    with pytest.raises(DownloadError, match=message) as caught:
        download(repo, revision, cache_dir=tmp_path)
    assert "\n" not in str(caught.value)


def test_offline(hub: Hub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = download(REPO, cache_dir=tmp_path)
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")
    assert download(REPO, cache_dir=tmp_path) == folder
    assert download(REPO, refresh=True, cache_dir=tmp_path) == folder
    with pytest.raises(DownloadError, match=r"people/other: not in the cache, and http://127.0.0.1:9 cannot be"):
        download("people/other", cache_dir=tmp_path)


def test_disk_space_is_checked_first(hub: Hub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    usage = shutil.disk_usage(tmp_path)._replace(free=1000)
    monkeypatch.setattr(hub_module.shutil, "disk_usage", lambda path: usage)
    with pytest.raises(DownloadError, match=r"needs 0\.\d GB more .* HF_HOME"):
        download(REPO, cache_dir=tmp_path)
    assert hub.asked_for(SHARD) == []
