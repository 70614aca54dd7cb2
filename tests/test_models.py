from __future__ import annotations

import json
from pathlib import Path

import pytest

from triptych import embedded
from triptych.engine.errors import CheckpointError
from triptych.models import cached_hub_models, embedded_models, hub_cache, identify, locate, locate_config


def test_embedded_names_come_with_the_package():
    for name in embedded.NAMES:
        source = identify(name)
        assert source.kind == "embedded"
        assert locate(name) == locate_config(name) == source


def test_a_folder_wins_over_a_hub_id_of_the_same_spelling(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert identify("org/model").kind == "hub"
    Path("org/model").mkdir(parents=True)
    assert (identify("org/model").kind, identify("org/model").folder) == ("folder", Path("org/model"))


def test_a_hub_id_may_carry_a_revision():
    source = identify("llava-hf/llava-1.5-7b-hf@refs/pr/3")
    assert (source.kind, source.hub_id, source.revision) == ("hub", "llava-hf/llava-1.5-7b-hf", "refs/pr/3")
    assert identify("a/b").revision is None


@pytest.mark.parametrize("name", ["llava", "", "a/b/c", "triptych/huge", "./nowhere", "a b/c", "/no/such/folder"])
def test_other_names_are_refused_with_what_would_do(name):
    with pytest.raises(CheckpointError, match=r"use one of triptych/tiny-llava-1.5, .* hub id such as"):
        identify(name)


def test_a_file_is_not_a_model(tmp_path):
    file = tmp_path / "model.safetensors"
    file.touch()
    with pytest.raises(CheckpointError, match=r"is a file; a model is the folder"):
        identify(file)


def test_embedded_models_are_described():
    assert [(model.name, model.note) for model in embedded_models()] == [(name, "") for name in embedded.NAMES]


def test_the_hub_cache_is_where_hugging_face_has_it(monkeypatch, tmp_path):
    for name in ("HF_HUB_CACHE", "HUGGINGFACE_HUB_CACHE", "HF_HOME", "XDG_CACHE_HOME"):
        monkeypatch.delenv(name, raising=False)
    assert hub_cache() == Path.home() / ".cache/huggingface/hub"
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert hub_cache() == tmp_path / "huggingface/hub"
    monkeypatch.setenv("HF_HOME", str(tmp_path / "home"))
    assert hub_cache() == tmp_path / "home/hub"
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path / "cache"))
    assert hub_cache() == tmp_path / "cache"


def cached(root: Path, name: str, architecture: str, shards: int) -> None:
    folder = root / f"models--{name.replace('/', '--')}" / "snapshots" / "abc"
    folder.mkdir(parents=True)
    (folder / "config.json").write_text(json.dumps({"model_type": architecture}))
    names = [f"model-0000{number}-of-00002.safetensors" for number in (1, 2)]
    index = {"weight_map": {f"weight{number}": name for number, name in enumerate(names)}}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index))
    for shard in names[:shards]:
        (folder / shard).write_bytes(bytes(1000))


def test_cached_models_are_listed_with_what_is_missing(monkeypatch, tmp_path):
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path))
    assert cached_hub_models() == []
    cached(tmp_path, "org/whole", "llava", 2)
    cached(tmp_path, "org/half", "mixtral", 1)
    cached(tmp_path, "org/other", "bert", 2)
    (tmp_path / "models--org--empty").mkdir()
    found = {model.name: (model.architecture, model.nbytes, model.note) for model in cached_hub_models()}
    assert found == {
        "org/whole": ("llava", 2000, ""),
        "org/half": ("mixtral", 1000, "incomplete: pull it again"),
    }
