"""Messages and images to a `Prompt`: template, token ids, and the run of tokens that each image becomes.

The rendered text is tokenised once, with one image token per image, and each of those is then expanded: cutting
the text at the images would add the tokenizer's leading space at every seam. No tensors.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..errors import CheckpointError, ContextOverflowError, ParameterError, PromptError
from ..request import ImageSpan, Prompt
from .chat_template import BUILTIN, ChatTemplate, builtin_template, read_template
from .messages import Turn, place_images, read_turns
from .tokenizer import Tokenizer
from .untrusted import Guard

if TYPE_CHECKING:
    from ..checkpoints.checkpoint import ModelConfig
    from ..imaging.images import ImageInput
    from ..imaging.preprocess import Preprocessor


class PromptBuilder:
    """Builds prompts for one model. Thread-safe.

    preprocessor    None for a text model
    image_token_id  the token that stands for an image; None for a text model
    chat_template   Jinja source or the name of a built-in template; None for a model that has no chat form
    max_context     tokens of prompt and answer together
    vocab           rows of the model's embedding; ids beyond are refused
    """

    def __init__(
        self,
        tokenizer: Tokenizer,
        preprocessor: Preprocessor | None,
        image_token_id: int | None,
        chat_template: str | None,
        max_context: int,
        vocab: int | None = None,
    ) -> None:
        self.tokenizer = tokenizer
        self.max_context = max_context
        self._preprocessor = preprocessor
        self._image_id = image_token_id if preprocessor is not None else None
        self._vocab = vocab
        image_text = tokenizer.token_text(image_token_id) if image_token_id is not None else None
        if preprocessor is not None and (image_text is None or image_token_id not in tokenizer.special_ids):
            raise CheckpointError(
                f"tokenizer.json has no image token with id {image_token_id}, which config.json names; "
                f"the files do not belong together"
            )
        self._image_text = image_text or "<image>"
        self.template = self._make_template(chat_template)

    @classmethod
    def from_folder(
        cls,
        folder: str | Path,
        tokenizer: Tokenizer,
        preprocessor: Preprocessor | None,
        config: ModelConfig,
        max_context: int,
        chat_template: str | None = None,
    ) -> PromptBuilder:
        """With the folder's own chat template, or the built-in one of its family if it has none.

        `chat_template` overrides both: Jinja source, or one of "vicuna", "vicuna_v1", "mistral". Raises
        `CheckpointError` for a tokenizer that does not fit the model.
        """
        if tokenizer.base_vocab_size > config.text.vocab:
            raise CheckpointError(
                f"{folder}: tokenizer.json has {tokenizer.base_vocab_size} tokens but the model knows "
                f"{config.text.vocab}; it is the tokenizer of another model"
            )
        template = chat_template or read_template(folder) or _family_template(config)
        return cls(
            tokenizer, preprocessor, config.image_token_id, template, max_context, vocab=config.text.vocab
        )

    @property
    def can_chat(self) -> bool:
        """Whether the model has a chat form; base models continue raw prompts only."""
        return self.template is not None

    def chat(self, messages: Sequence[Mapping[str, Any]], images: Sequence[ImageInput] = ()) -> Prompt:
        """The prompt of a conversation.

        A message is {"role": "system" | "user" | "assistant", "content": text or parts}; a part is
        {"type": "text", "text": ...} or {"type": "image"}. Image parts take `images` in order; without image
        parts all images go before the first user message's text. If the last message is the assistant's, the
        model carries on from its text. Special tokens spelled in texts stay text.

        Raises `PromptError` (malformed messages, refused by the template, images and image parts differ in
        number, no chat form), `ContextOverflowError`.
        """
        if self.template is None:
            raise PromptError(
                "this model has no chat template (a base model); use generate with a raw prompt, or name a "
                f"template: {', '.join(BUILTIN)}"
            )
        turns = place_images(read_turns(messages), len(images))
        guard = Guard(self.tokenizer, [text for turn in turns for text in turn.texts])
        turns = [turn.map_texts(guard.hide) for turn in turns]
        prefilled = turns[-1].role == "assistant"
        if not self.template.takes_system:
            turns = _merge_system(turns)
        if prefilled:
            rendered = self._render_prefilled(self.template, turns, guard.mark)
        else:
            rendered = self.template.render([self._message(self.template, turn) for turn in turns])
        return self._finish(guard.encode(rendered), guard.show(rendered), images, continues=prefilled)

    def raw(self, text: str | Sequence[int], images: Sequence[ImageInput] = ()) -> Prompt:
        """The prompt as the caller wrote it: special tokens count, `<image>` marks the images' places.

        BOS is added if the tokenizer does so and `text` does not begin with it; token ids are taken as they are.
        Raises `PromptError` when markers and images differ in number, `ContextOverflowError`.
        """
        if isinstance(text, str):
            return self._finish(self.tokenizer.encode(text), text, images, continues=True)
        ids, known = list(text), range(self._vocab or self.tokenizer.vocab_size)
        if any(not isinstance(token, int) or isinstance(token, bool) or token not in known for token in ids):
            raise PromptError(f"token ids of a prompt must be whole numbers from 0 to {len(known) - 1}")
        return self._finish(ids, self.tokenizer.decode(ids, skip_special=False), images, continues=True)

    def _make_template(self, chosen: str | None) -> ChatTemplate | None:
        if chosen is None:
            return None
        builtin = chosen in BUILTIN
        if not builtin and "{" not in chosen:
            raise ParameterError(
                f"chat_template must be Jinja source or one of {', '.join(BUILTIN)}, not {chosen!r}",
                "chat_template",
            )
        tokenizer = self.tokenizer
        tokens = {
            "bos_token": tokenizer.bos_token,
            "eos_token": tokenizer.eos_token,
            "pad_token": tokenizer.pad_token,
            "unk_token": tokenizer.unk_token,
            "image_token": self._image_text,
        }
        variables = {name: text for name, text in tokens.items() if text is not None}
        name = f"the built-in chat template {chosen}" if builtin else "the model's chat template"
        return ChatTemplate(builtin_template(chosen) if builtin else chosen, variables, name)

    def _message(self, template: ChatTemplate, turn: Turn) -> dict[str, Any]:
        if template.takes_parts:
            return {"role": turn.role, "content": turn.as_parts()}
        return {"role": turn.role, "content": turn.as_text(self._image_text)}

    def _render_prefilled(self, template: ChatTemplate, turns: list[Turn], mark: str) -> str:
        """The conversation up to the end of the last message's text, without what closes an answer."""
        tag = mark + " "
        messages = [self._message(template, turn) for turn in [*turns[:-1], turns[-1].with_suffix(tag)]]
        rendered = template.render(messages, generation_prompt=False)
        end = rendered.rfind(mark)
        if end < 0:
            raise PromptError(f"{template.name} does not show the last answer, so it cannot be continued")
        # As transformers does: a template that strips the answer strips the text to be continued as well.
        return rendered[:end] if rendered.startswith(tag, end) else rendered[:end].rstrip()

    def _finish(self, ids: list[int], text: str, images: Sequence[ImageInput], *, continues: bool) -> Prompt:
        marks = ids.count(self._image_id) if self._image_id is not None else 0
        if images and self._preprocessor is None:
            raise PromptError(f"this is a text model: it takes no images, but {len(images)} were given")
        if marks != len(images):
            raise PromptError(
                f"the prompt has {marks} places for images ({self._image_text}) but {len(images)} images were "
                f"given; make the numbers equal"
            )
        if not ids:
            raise PromptError("the prompt is empty; give at least one character")
        if self._vocab is not None and max(ids) >= self._vocab:
            spelled = self.tokenizer.token_text(max(ids))
            raise PromptError(f"the prompt has the token {spelled!r}, which the model does not know; remove it")
        expanded, spans = self._expand(ids, images)
        if len(expanded) + 1 > self.max_context:
            of_images = f" ({sum(span.length for span in spans)} of them images)" if spans else ""
            raise ContextOverflowError(
                f"the prompt has {len(expanded)} tokens{of_images} but the context is {self.max_context} tokens, "
                f"one of which must be left for the answer; shorten the prompt"
            )
        return Prompt(tuple(expanded), tuple(spans), text, continues)

    def _expand(
        self, ids: Sequence[int], images: Sequence[ImageInput]
    ) -> tuple[list[int], list[ImageSpan]]:
        if self._preprocessor is None or not images:
            return list(ids), []
        expanded: list[int] = []
        spans: list[ImageSpan] = []
        waiting = iter(images)
        for token in ids:
            if token != self._image_id:
                expanded.append(token)
                continue
            image = next(waiting)
            length = self._preprocessor.tokens(image.width, image.height, image.detail)
            tiles = self._preprocessor.tiles(image.width, image.height, image.detail)
            digest = self._preprocessor.digest(image)
            spans.append(ImageSpan(len(expanded), length, tiles, digest, image))
            expanded += [token] * length
        return expanded, spans


def _merge_system(turns: list[Turn]) -> list[Turn]:
    """The system text before the first question, for models that were trained without a system role."""
    if turns[0].role != "system":
        return turns
    system, first = turns[0].as_text(""), next(i for i, turn in enumerate(turns) if turn.role == "user")
    merged = turns[first].with_prefix(system + "\n\n") if system else turns[first]
    return [*turns[1:first], merged, *turns[first + 1 :]]


def _family_template(config: ModelConfig) -> str | None:
    """The built-in template of a LLaVA checkpoint without one; text models may be base models, so they get none."""
    if config.architecture == "llava":
        return "vicuna"
    if config.architecture == "llava_next":
        # Llama-2 backbones (Vicuna) have as many KV heads as heads, Mistral has fewer.
        return "vicuna" if config.text.kv_heads == config.text.heads else "mistral"
    return None
