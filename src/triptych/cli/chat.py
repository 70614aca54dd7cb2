"""`triptych chat`: questions and answers, streaming, about images or without."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

import click

from ..engine.errors import TriptychError
from .options import engine_options, load, model_option

if TYPE_CHECKING:
    from ..llm import LLM

HELP = """\
/image PATH   show an image with your next message (a path, URL or data URI; several are possible)
/reset        forget the conversation and the images
/help         this list
/quit         leave; so does Ctrl-D. Ctrl-C stops an answer"""


@click.command(name="chat")
@model_option
@click.option("--message", "-m", help="Ask this, print the answer and leave.")
@click.option("--image", "-i", "images", multiple=True, metavar="PATH", help="An image to ask about; repeatable.")
@click.option("--system", help="Instructions that come before the conversation.")
@click.option("--max-tokens", type=click.IntRange(min=1), default=512, show_default=True,
              help="The longest answer, in tokens.")
@click.option("--temperature", type=float, default=0.0, show_default=True, help="0: always the likeliest token.")
@click.option("--top-p", type=float, default=1.0, show_default=True,
              help="Draw from the likeliest tokens that make up this probability.")
@click.option("--seed", type=int, help="Makes drawn answers repeatable.")
@click.option("--stats", is_flag=True, help="After each answer, its tokens and times on stderr.")
@click.option("--quiet", "-q", is_flag=True, help="Do not say which model answers.")
@engine_options
def command(
    model: str, message: str | None, images: tuple[str, ...], system: str | None, max_tokens: int,
    temperature: float, top_p: float, seed: int | None, stats: bool, quiet: bool, **options: Any,
) -> None:
    """Chat with a model. With --message, or with a question on standard input, it answers once and leaves."""
    from ..engine.request import SamplingParams

    params = SamplingParams(max_tokens=max_tokens, temperature=temperature, top_p=top_p, seed=seed)
    interactive = message is None and sys.stdin.isatty()
    if message is None and not interactive:
        message = sys.stdin.read().strip()
    if message is not None and not message:
        raise click.UsageError("the question is empty: give it with --message or on standard input")
    with load(model, quiet, **options) as llm:
        if not quiet:
            click.echo(f"{_introduction(llm)}{_hint(interactive)}", err=True)
        talk = Conversation(llm, params, system, stats)
        for image in images:
            talk.show(image)
        if message is not None:
            talk.ask(message)
        else:
            _converse(talk)


class Conversation:
    """What was said so far, and the images waiting for the next message."""

    def __init__(self, llm: LLM, params: Any, system: str | None, stats: bool) -> None:
        self._llm = llm
        self._params = params
        self._system = [{"role": "system", "content": system}] if system else []
        self._stats = stats
        self.reset()

    def reset(self) -> None:
        self._messages: list[dict[str, Any]] = list(self._system)
        self._waiting: list[Any] = []

    def show(self, image: str) -> str:
        """Takes an image for the next message and says what it is. Raises ImageError or PromptError."""
        from ..engine.errors import PromptError
        from ..engine.imaging.images import open_image

        if not self._llm.engine.info.vision:
            raise PromptError(f"{self._llm.model} takes no images; start with a LLaVA model (--model)")
        opened = open_image(image)
        self._waiting.append(image)
        return f"{image}: {opened.width}x{opened.height} pixels"

    def ask(self, text: str) -> None:
        """Streams the answer to stdout. What failed or was stopped before its first word is forgotten again."""
        parts: list[dict[str, Any]] = [{"type": "image", "image": image} for image in self._waiting]
        question = {"role": "user", "content": [*parts, {"type": "text", "text": text}]}
        said = ""
        stream = self._llm.stream([*self._messages, question], params=self._params)
        try:
            for piece in stream:
                said += piece
                click.echo(piece, nl=False)
        finally:
            stream.close()
            if said:
                click.echo()
                self._messages += [question, {"role": "assistant", "content": said.strip()}]
                self._waiting = []
        if self._stats:
            click.echo(_stats(stream.completion), err=True)


def _converse(talk: Conversation) -> None:
    import contextlib

    with contextlib.suppress(ImportError):
        import readline  # noqa: F401  (line editing and history for input())
    while True:
        try:
            line = input("> ").strip()
        except EOFError:
            click.echo()
            return
        except KeyboardInterrupt:
            click.echo("\n(Ctrl-D or /quit leaves)", err=True)
            continue
        if line in ("/quit", "/exit"):
            return
        try:
            _obey(talk, line)
        except KeyboardInterrupt:
            click.echo("(stopped)", err=True)
        except TriptychError as error:
            click.echo(f"error: {error}", err=True)


def _obey(talk: Conversation, line: str) -> None:
    word, _, rest = line.partition(" ")
    if not line:
        return
    if word == "/image":
        path = rest.strip().strip("'\"")
        click.echo(talk.show(path) if path else "give a path: /image PATH", err=True)
    elif word == "/reset":
        talk.reset()
        click.echo("(forgotten)", err=True)
    elif word == "/help" or word.startswith("/"):
        click.echo(HELP, err=True)
    else:
        talk.ask(line)


def _introduction(llm: LLM) -> str:
    info = llm.engine.info
    about = f"{llm.model} ({info.architecture}, {info.precision} on {info.device})"
    if not llm.model.startswith("triptych/tiny-"):
        return about
    world = "drawn shapes and handwritten numbers" if info.vision else "sums and differences up to 99"
    return f"{about}: a small demonstration model that knows only {world}"


def _hint(interactive: bool) -> str:
    return "\n/image PATH shows an image, /help lists the rest, Ctrl-D leaves" if interactive else ""


def _stats(completion: Any) -> str:
    usage, timing = completion.usage, completion.timing
    decoding = max(timing.total - timing.first_token, 1e-9)
    rate = f", {(usage.completion_tokens - 1) / decoding:.1f} tokens/s" if usage.completion_tokens > 1 else ""
    return (
        f"({usage.prompt_tokens} prompt tokens, {usage.cached_tokens} of them cached, {usage.image_tokens} of images; "
        f"{usage.completion_tokens} generated; first token after {timing.first_token:.2f} s{rate})"
    )
