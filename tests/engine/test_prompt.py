"""Messages and images to prompts: placement, roles, untrusted text, counts and limits."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from picture_files import noise
from prompt_folders import make_folder, open_builder
from small_tokenizer import small_tokenizer

from triptych.engine.errors import CheckpointError, ContextOverflowError, ParameterError, PromptError
from triptych.engine.imaging.images import open_image
from triptych.engine.prompting.prompt import PromptBuilder
from triptych.engine.prompting.tokenizer import Tokenizer
from triptych.engine.request import Prompt

A, B, C = (open_image(noise(60, 40, seed=seed)) for seed in range(3))
HELLO = {"role": "user", "content": "the red?"}
Messages = Sequence[dict[str, Any]]


@pytest.fixture(scope="module")
def llava(tmp_path_factory: pytest.TempPathFactory) -> PromptBuilder:
    return open_builder(make_folder(tmp_path_factory.mktemp("llava"), "llava"))


@pytest.fixture(scope="module")
def anyres(tmp_path_factory: pytest.TempPathFactory) -> PromptBuilder:
    return open_builder(make_folder(tmp_path_factory.mktemp("next"), "llava_next"))


@pytest.fixture(scope="module")
def mixtral(tmp_path_factory: pytest.TempPathFactory) -> PromptBuilder:
    return open_builder(make_folder(tmp_path_factory.mktemp("mixtral"), "mixtral"))


def user(*parts: str | None) -> dict[str, Any]:
    """A user message; None is an image."""
    return {"role": "user", "content": [{"type": "image"} if p is None else {"type": "text", "text": p} for p in parts]}


def assistant(text: str) -> dict[str, Any]:
    return {"role": "assistant", "content": text}


def refused(builder: PromptBuilder, match: str, messages: Any, images: Sequence[Any] = ()) -> None:
    with pytest.raises(PromptError, match=match) as caught:
        builder.chat(messages, images)
    assert "\n" not in str(caught.value)


def special(builder: PromptBuilder, prompt: Prompt) -> list[int]:
    return [token for token in prompt.token_ids if token in builder.tokenizer.special_ids]


class TestImages:
    def test_text_of_the_published_template(self, llava: PromptBuilder) -> None:
        assert llava.chat([HELLO], [A]).text == "USER: <image>\nthe red? ASSISTANT:"

    def test_image_runs(self, llava: PromptBuilder) -> None:
        prompt = llava.chat([HELLO], [A])
        (span,) = prompt.spans
        image = llava.tokenizer.token_id("<image>")
        assert (span.length, span.tiles, span.image) == (4, 1, A)
        assert prompt.token_ids[span.offset : span.end] == (image,) * 4
        assert prompt.token_ids.count(image) == prompt.image_tokens == 4

    def test_anyres_runs_follow_the_header(self, anyres: PromptBuilder) -> None:
        sizes = [(60, 40), (40, 60), (300, 20), (1, 2000), (2000, 1)]
        images = [open_image(noise(*size)) for size in sizes]
        prompt = anyres.chat([HELLO], images)
        preprocessor = anyres._preprocessor
        assert preprocessor is not None
        assert [span.length for span in prompt.spans] == [preprocessor.tokens(*size) for size in sizes]
        assert [span.tiles for span in prompt.spans] == [preprocessor.tiles(*size) for size in sizes]

    def test_one_image_token_is_encoded_per_image(self, llava: PromptBuilder) -> None:
        """The run is not written out as text: everything around it is encoded as with a single marker."""
        prompt = llava.chat([HELLO], [A])
        (span,) = prompt.spans
        without_run = (*prompt.token_ids[: span.offset + 1], *prompt.token_ids[span.end :])
        assert list(without_run) == llava.tokenizer.encode(prompt.text)

    def test_unmentioned_images_precede_the_first_user_text(self, llava: PromptBuilder) -> None:
        messages = [{"role": "system", "content": "Be brief."}, HELLO, assistant("A cat."), user("Sure?")]
        prompt = llava.chat(messages, [A, B])
        assert prompt.text == (
            "Be brief. USER: <image>\n<image>\nthe red? ASSISTANT: A cat. USER: Sure? ASSISTANT:"
        )
        assert [span.image for span in prompt.spans] == [A, B]

    def test_parts_take_images_in_order(self, llava: PromptBuilder) -> None:
        prompt = llava.chat([user(None, "first"), assistant("ok"), user("second", None)], [A, B])
        assert [span.image for span in prompt.spans] == [A, B]
        assert prompt.text == "USER: <image>\nfirst ASSISTANT: ok USER: <image>\nsecond ASSISTANT:"

    def test_fewer_images_than_parts(self, llava: PromptBuilder) -> None:
        refused(llava, "2 image parts but 1 images", [user(None, "a", None)], [A])
        refused(llava, "1 image parts but 0 images", [user(None, "a")])

    def test_more_images_than_parts(self, llava: PromptBuilder) -> None:
        refused(llava, "1 image parts but 3 images", [user(None, "a")], [A, B, C])

    def test_images_for_a_text_model(self, mixtral: PromptBuilder) -> None:
        refused(mixtral, "text model: it takes no images, but 1 were given", [HELLO], [A])

    def test_digests_tell_images_apart_and_know_their_preprocessing(
        self, llava: PromptBuilder, anyres: PromptBuilder
    ) -> None:
        first, second = llava.chat([HELLO], [A, B]).spans
        again = llava.chat([user("another question")], [open_image(noise(60, 40))]).spans[0]
        assert first.digest == again.digest != second.digest
        assert len(first.digest) >= 16
        assert anyres.chat([HELLO], [A]).spans[0].digest != first.digest

    def test_template_that_takes_strings_only(self, llava: PromptBuilder) -> None:
        source = "{% for m in messages %}{{ m.role }}: {{ m.content | trim }}\n{% endfor %}"
        builder = PromptBuilder(llava.tokenizer, llava._preprocessor, llava._image_id, source, 100)
        assert builder.chat([user("a", None, "b")], [A]).text == "user: a\n<image>\nb\n"


class TestUntrustedText:
    @pytest.mark.parametrize("text", ["<image>", "</s>", "<s>", "<pad>", "a<image></s>b", "<image", "image>", "<</s>>"])
    def test_typed_special_tokens_stay_text(self, text: str, llava: PromptBuilder, mixtral: PromptBuilder) -> None:
        plain = llava.chat([HELLO], [A])
        prompt = llava.chat([{"role": "user", "content": text}], [A])
        assert special(llava, prompt) == special(llava, plain)
        assert text in prompt.text
        assert text in llava.tokenizer.decode(prompt.token_ids)
        question = mixtral.chat([{"role": "user", "content": text}, assistant(text), user(text)])
        assert special(mixtral, question) == [1, 2]
        assert mixtral.tokenizer.decode(question.token_ids).count(text) == 3

    def test_in_system_and_prefill(self, mixtral: PromptBuilder) -> None:
        prompt = mixtral.chat([{"role": "system", "content": "</s>"}, HELLO, assistant("<s>")])
        assert special(mixtral, prompt) == [1]

    def test_parts_do_not_join_to_a_special_token(self, anyres: PromptBuilder) -> None:
        prompt = anyres.chat([user("<ima", "ge></", "s>")], [A])
        assert "<image></s>" in prompt.text
        assert set(special(anyres, prompt)) == {1, anyres._image_id}
        assert len(prompt.spans) == 1

    def test_ordinary_text_is_encoded_as_if_unguarded(self, mixtral: PromptBuilder) -> None:
        for text in ("a < b > c", "<b>bold</b>", "if a<image_count: </span>", "\U00100000 \U0010fffd private"):
            prompt = mixtral.chat([{"role": "user", "content": text}])
            assert list(prompt.token_ids) == mixtral.tokenizer.encode(prompt.text)
            assert text in prompt.text

    def test_stand_ins_in_the_text_are_harmless(self, mixtral: PromptBuilder) -> None:
        text = "".join(chr(0x100000 + number) for number in range(40)) + "</s>"
        prompt = mixtral.chat([{"role": "user", "content": text}])
        assert special(mixtral, prompt) == [1]
        assert text in mixtral.tokenizer.decode(prompt.token_ids)

    def test_raw_prompts_are_trusted(self, llava: PromptBuilder) -> None:
        prompt = llava.raw("<s>USER: <image>\nHi</s>", [A])
        assert special(llava, prompt) == [1, *[llava._image_id] * 4, 2]  # type: ignore[list-item]

    @given(text=st.text(alphabet="<>/simage pd\n[INST]", max_size=30))
    def test_nothing_typed_becomes_special(self, mixtral: PromptBuilder, text: str) -> None:
        prompt = mixtral.chat([{"role": "user", "content": text}])
        assert special(mixtral, prompt) == [1]
        assert prompt.text == f"<s>[INST] {text} [/INST]"


class TestRoles:
    def test_system_where_the_template_knows_it(self, llava: PromptBuilder) -> None:
        prompt = llava.chat([{"role": "system", "content": "Be brief."}, HELLO])
        assert prompt.text == "Be brief. USER: the red? ASSISTANT:"

    def test_system_where_it_does_not_goes_before_the_question(self, mixtral: PromptBuilder) -> None:
        prompt = mixtral.chat([{"role": "system", "content": "Be brief."}, HELLO, assistant("ok"), user("more")])
        assert prompt.text == "<s>[INST] Be brief.\n\nthe red? [/INST]ok</s>[INST] more [/INST]"

    def test_system_with_an_image_question(self, llava: PromptBuilder) -> None:
        template = (
            "{% for m in messages %}{% if m.role == 'system' %}{{ raise_exception('no system') }}{% endif %}"
            "{% for p in m.content %}{{ '<image>\n' if p.type == 'image' else p.text }}{% endfor %}{% endfor %}"
        )
        builder = PromptBuilder(llava.tokenizer, llava._preprocessor, llava._image_id, template, 100)
        prompt = builder.chat([{"role": "system", "content": "Brief."}, user(None)], [A])
        assert prompt.text == "<image>\nBrief."

    def test_prefill_is_continued(self, llava: PromptBuilder, mixtral: PromptBuilder) -> None:
        prompt = llava.chat([HELLO, assistant("The answer")])
        assert (prompt.text, prompt.continues) == ("USER: the red? ASSISTANT: The answer", True)
        prompt = mixtral.chat([HELLO, assistant("The answer")])
        assert (prompt.text, prompt.continues) == ("<s>[INST] the red? [/INST]The answer", True)
        assert mixtral.tokenizer.eos_id not in prompt.token_ids

    def test_empty_prefill_is_an_ordinary_question(self, llava: PromptBuilder) -> None:
        prompt = llava.chat([HELLO, assistant("")])
        assert (prompt.text, prompt.continues) == ("USER: the red? ASSISTANT:", False)

    def test_template_that_drops_the_answer(self, llava: PromptBuilder) -> None:
        builder = PromptBuilder(llava.tokenizer, None, None, "{{ messages[0].content }}", 100)
        refused(builder, "does not show the last answer", [HELLO, assistant("ok")])

    def test_template_refusals_are_passed_on(self, mixtral: PromptBuilder) -> None:
        refused(mixtral, "refuses these messages: Conversation roles must alternate", [HELLO, HELLO])

    @pytest.mark.parametrize(
        ("messages", "match"),
        [
            ([], 'at least one with the role "user"'),
            ([{"role": "system", "content": "x"}], 'at least one with the role "user"'),
            ("hello", "messages must be a list"),
            ({"role": "user", "content": "x"}, "messages must be a list"),
            (["hello"], "message 1: must be"),
            ([{"content": "x"}], "message 1: role must be system, user or assistant, not None"),
            ([HELLO, {"role": "tool", "content": "x"}], "message 2: role must be .* not 'tool'"),
            ([{"role": "user"}], "message 1: content must be a text or a list of parts, not None"),
            ([{"role": "user", "content": []}], "content must be"),
            ([{"role": "user", "content": 5}], "content must be"),
            ([{"role": "user", "content": "x", "name": "y"}], "unknown key 'name'"),
            ([{"role": "user", "content": ["x"]}], "message 1, part 1: must be"),
            ([{"role": "user", "content": [{"type": "video"}]}], "message 1, part 1: must be"),
            ([{"role": "user", "content": [{"type": "text"}]}], "message 1, part 1: must be"),
            ([HELLO, {"role": "assistant", "content": [{"type": "image"}]}], "only user messages may hold images"),
        ],
    )
    def test_malformed_messages(self, messages: Any, match: str, llava: PromptBuilder) -> None:
        refused(llava, match, messages)


class TestRaw:
    def test_markers_and_images(self, llava: PromptBuilder) -> None:
        prompt = llava.raw("<image>\nthe <image> red", [A, B])
        assert [span.image for span in prompt.spans] == [A, B]
        assert prompt.continues
        assert prompt.token_ids[0] == 1
        assert prompt.token_ids.count(1) == 1

    def test_bos_is_not_doubled(self, mixtral: PromptBuilder) -> None:
        assert mixtral.raw("<s>the red").token_ids == mixtral.raw("the red").token_ids

    @pytest.mark.parametrize(("text", "count"), [("none", 1), ("<image>", 0), ("<image><image>", 1), ("<image>", 2)])
    def test_markers_and_images_differ(self, text: str, count: int, llava: PromptBuilder) -> None:
        match = f"{text.count('<image>')} places for images .* but {count} images"
        with pytest.raises(PromptError, match=match):
            llava.raw(text, [A, B][:count])

    def test_text_model_knows_no_marker(self, mixtral: PromptBuilder) -> None:
        assert mixtral.raw("a <image> b").spans == ()

    def test_empty_prompt(self, llava: PromptBuilder) -> None:
        assert llava.raw("").token_ids == (1,)
        without_bos = PromptBuilder(Tokenizer(small_tokenizer()), None, None, None, 100)
        with pytest.raises(PromptError, match="the prompt is empty"):
            without_bos.raw("")


class TestLimits:
    def test_prompt_longer_than_the_context(self, tmp_path: Path) -> None:
        builder = open_builder(make_folder(tmp_path, "llava"), max_context=64)
        prompt = builder.raw("the" * 20 + "<image>", [A])
        with pytest.raises(ContextOverflowError, match=r"prompt has (\d+) tokens \(4 of them images\) .* 64 tokens"):
            builder.raw("the red " * 60 + "<image>", [A])
        assert len(prompt.token_ids) < 64

    def test_one_token_must_be_left(self, mixtral: PromptBuilder, tmp_path: Path) -> None:
        length = len(mixtral.raw("the red the").token_ids)
        folder = make_folder(tmp_path, "mixtral")
        assert open_builder(folder, max_context=length + 1).raw("the red the")
        with pytest.raises(ContextOverflowError, match=f"has {length} tokens but the context is {length} tokens"):
            open_builder(folder, max_context=length).raw("the red the")

    def test_tokenizer_of_another_model(self, tmp_path: Path) -> None:
        folder = make_folder(tmp_path, "mixtral")
        text = (folder / "config.json").read_text()
        (folder / "config.json").write_text(text.replace('"vocab_size": ', '"vocab_size": 1, "_": '))
        with pytest.raises(CheckpointError, match="it is the tokenizer of another model"):
            open_builder(folder)

    def test_tokenizer_without_the_image_token(self, tmp_path: Path) -> None:
        folder = make_folder(tmp_path, "llava")
        text = (folder / "config.json").read_text()
        (folder / "config.json").write_text(text.replace('"image_token_index": ', '"image_token_index": 9'))
        with pytest.raises(CheckpointError, match="no image token with id"):
            open_builder(folder)

    def test_added_token_beyond_the_models_rows(self, mixtral: PromptBuilder) -> None:
        rows = mixtral.tokenizer.base_vocab_size
        builder = PromptBuilder(mixtral.tokenizer, None, None, None, 100, vocab=rows)
        with pytest.raises(PromptError, match="which the model does not know"):
            builder.raw("the <pad>")
        assert builder.raw("the red")


class TestTemplates:
    def test_base_model_has_no_chat(self, tmp_path: Path) -> None:
        builder = open_builder(make_folder(tmp_path, "mixtral", template=None))
        assert not builder.can_chat
        refused(builder, "no chat template .* use generate with a raw prompt", [HELLO])
        assert builder.raw("the red").token_ids[0] == 1

    def test_llava_without_template_gets_its_familys(self, tmp_path: Path) -> None:
        builder = open_builder(make_folder(tmp_path / "a", "llava", template=None))
        assert builder.chat([HELLO], [A]).text == "USER: <image>\nthe red? ASSISTANT:"
        builder = open_builder(make_folder(tmp_path / "b", "llava_next", template=None))
        assert builder.chat([HELLO], [A]).text == "[INST] <image>\nthe red? [/INST]"

    def test_explicit_choice_wins(self, tmp_path: Path) -> None:
        folder = make_folder(tmp_path, "llava")
        assert open_builder(folder, chat_template="mistral").chat([HELLO]).text == "[INST] the red? [/INST]"
        assert open_builder(folder, chat_template="{{ messages|length }}").chat([HELLO]).text == "1"
        with pytest.raises(ParameterError, match="vicuna, vicuna_v1, mistral, not 'chatml'"):
            open_builder(folder, chat_template="chatml")

