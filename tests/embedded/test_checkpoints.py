"""The packaged checkpoints are ordinary ones: complete, small, loadable by others, with a lossless tokenizer."""

import json
import subprocess
import sys

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import Tokenizer

from triptych import embedded

LLAVA_15, LLAVA_16, MIXTRAL = embedded.NAMES
MEGABYTE = 1_000_000


def read(name: str, file: str) -> dict:
    return json.loads((embedded.path(name) / file).read_text(encoding="utf-8"))


def tokenizer_of(name: str) -> Tokenizer:
    return Tokenizer.from_file(str(embedded.path(name) / "tokenizer.json"))


def test_an_unknown_name_is_refused_with_the_choices():
    with pytest.raises(KeyError, match=r"tiny-llava-1\.6"):
        embedded.path("triptych/large-llava")


def test_knowing_the_names_imports_nothing_heavy():
    code = "import sys, triptych.embedded; print(sorted({'torch', 'numpy', 'PIL', 'transformers'} & set(sys.modules)))"
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert out.stdout.strip() == "[]"


@pytest.mark.parametrize("name", embedded.NAMES)
def test_every_file_is_there_and_small(name: str):
    folder = embedded.path(name)
    files = {"config.json", "generation_config.json", "model.safetensors", "tokenizer.json", "tokenizer_config.json"}
    files |= {"special_tokens_map.json", "chat_template.jinja", "README.md"}
    if name != MIXTRAL:
        files |= {"preprocessor_config.json", "processor_config.json", "chat_template.json"}
    assert files <= {path.name for path in folder.iterdir()}
    assert sum(path.stat().st_size for path in folder.iterdir()) < 9 * MEGABYTE


def test_all_together_stay_under_25_megabytes():
    total = sum(path.stat().st_size for name in embedded.NAMES for path in embedded.path(name).iterdir())
    assert total < 25 * MEGABYTE


@pytest.mark.parametrize("name", embedded.NAMES)
def test_transformers_loads_every_weight(name: str):
    import torch
    import transformers

    config = read(name, "config.json")
    family = getattr(transformers, config["architectures"][0])
    _, report = family.from_pretrained(embedded.path(name), dtype=torch.float32, output_loading_info=True)
    assert not report["missing_keys"]
    assert not report["unexpected_keys"]
    assert not report["mismatched_keys"]


def test_the_architectures_are_the_real_ones():
    old, new, sparse = (read(name, "config.json") for name in embedded.NAMES)
    assert (old["model_type"], old["text_config"]["model_type"]) == ("llava", "llama")
    assert (new["model_type"], new["text_config"]["model_type"]) == ("llava_next", "mistral")
    assert new["text_config"]["num_key_value_heads"] < new["text_config"]["num_attention_heads"]
    tile = new["vision_config"]["image_size"]
    grids = [[tile, 2 * tile], [2 * tile, tile], [2 * tile, 2 * tile], [3 * tile, tile], [tile, 3 * tile]]
    assert new["image_grid_pinpoints"] == grids
    assert (sparse["model_type"], sparse["num_local_experts"], sparse["num_experts_per_tok"]) == ("mixtral", 8, 2)
    for config in (old, new):
        assert config["vision_feature_layer"] == -2
        assert config["vision_feature_select_strategy"] == "default"
    for name in (LLAVA_15, LLAVA_16):
        assert read(name, "processor_config.json")["num_additional_image_tokens"] == 1


@pytest.mark.parametrize("name", embedded.NAMES)
@settings(max_examples=150)
@given(text=st.text())
def test_any_text_comes_back_as_it_went_in(name: str, text: str):
    tokenizer = tokenizer_of(name)
    if any(token.content in text for token in tokenizer.get_added_tokens_decoder().values()):
        return
    assert tokenizer.decode(tokenizer.encode(text, add_special_tokens=False).ids) == text


@pytest.mark.parametrize(
    "text",
    [
        "",
        " ",
        "  two  spaces ",
        "\n\ttabs\r\n",
        "▁",
        "a▁b ▁ c",
        "\ue000",
        "\ue000\ue001\ue002▁",
        "日本語 🎉 é",
        "x\x00y",
    ],
)
def test_awkward_texts_come_back_too(text: str):
    tokenizer = tokenizer_of(LLAVA_15)
    assert tokenizer.decode(tokenizer.encode(text, add_special_tokens=False).ids) == text


def test_numbers_are_read_digit_by_digit():
    encoding = tokenizer_of(LLAVA_16).encode("the handwritten number 4071", add_special_tokens=False)
    assert encoding.tokens[-4:] == ["4", "0", "7", "1"]


CHAT = [
    {"role": "user", "content": [{"type": "text", "text": "What is this?"}, {"type": "image"}]},
    {"role": "assistant", "content": [{"type": "text", "text": "a large red circle"}]},
    {"role": "user", "content": [{"type": "text", "text": "What color is it?"}]},
]


@pytest.mark.parametrize(
    ("name", "text"),
    [
        (LLAVA_15, "USER: <image>\nWhat is this? ASSISTANT: a large red circle USER: What color is it? ASSISTANT:"),
        (LLAVA_16, "[INST] <image>\nWhat is this? [/INST] a large red circle</s> [INST] What color is it? [/INST]"),
        (MIXTRAL, "<s>[INST] What is this? [/INST] a large red circle</s>[INST] What color is it? [/INST]"),
    ],
)
def test_chat_templates(name: str, text: str):
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(embedded.path(name))
    assert tokenizer.apply_chat_template(CHAT, tokenize=False, add_generation_prompt=True) == text
    ids = tokenizer(text, add_special_tokens=not text.startswith("<s>"))["input_ids"]
    assert ids.count(tokenizer.bos_token_id) == 1


@pytest.mark.parametrize("name", embedded.NAMES)
def test_plain_strings_are_content_too(name: str):
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(embedded.path(name))
    plain = tokenizer.apply_chat_template(
        [{"role": "user", "content": "Hi"}], tokenize=False, add_generation_prompt=True
    )
    typed = [{"role": "user", "content": [{"type": "text", "text": "Hi"}]}]
    assert plain == tokenizer.apply_chat_template(typed, tokenize=False, add_generation_prompt=True)
    assert "Hi" in plain
