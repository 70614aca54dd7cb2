"""`triptych caption`: one caption for each image of any number of files, folders and patterns."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, get_args

import click

from ..models import identify
from .inputs import find_images, is_remote
from .options import engine_options, load, model_option
from .output import FileOutput, Output, SidecarOutput, StreamOutput, open_file, sidecar
from .progress import CaptionBar
from .records import Format, Record

if TYPE_CHECKING:
    from ..llm import LLM


@dataclass(slots=True)
class Tally:
    """What became of the images so far."""

    captioned: int = 0
    failed: int = 0
    skipped: int = 0
    started: float = 0.0

    def summary(self, where: str) -> str:
        seconds = time.monotonic() - self.started
        parts = [f"captioned {_images(self.captioned)} in {seconds:.1f} s"]
        if self.captioned:
            parts[0] += f" ({self.captioned / max(seconds, 1e-9):.1f} images/s)"
        if where:
            parts[0] += f" -> {where}"
        if self.skipped:
            parts.append(f"{self.skipped} already done")
        if self.failed:
            parts.append(f"{self.failed} failed")
        return ", ".join(parts)


@click.command(name="caption")
@click.argument("paths", nargs=-1, required=True)
@model_option
@click.option("--prompt", help="What to ask about each image. Default: to describe it.")
@click.option("--max-tokens", type=click.IntRange(min=1), default=256, show_default=True,
              help="The longest caption, in tokens.")
@click.option("--format", "format_", type=click.Choice(get_args(Format)), default="text", show_default=True,
              help="text: `path: caption`; jsonl and csv: with token counts and seconds; "
                   "sidecar: a .txt beside each image.")
@click.option("--out", type=click.Path(dir_okay=False, path_type=Path), metavar="FILE",
              help="Write there instead of to the terminal.")
@click.option("--resume/--overwrite", default=True, show_default=True,
              help="Leave images that FILE or a sidecar already covers, or do everything again.")
@click.option("--batch-size", type=click.IntRange(min=1), metavar="N",
              help="Images computed together. Default: as many as the engine finds useful.")
@click.option("--quiet", "-q", is_flag=True, help="No progress bar and no summary; errors only.")
@engine_options
def command(
    paths: tuple[str, ...], model: str, prompt: str | None, max_tokens: int, format_: Format, out: Path | None,
    resume: bool, batch_size: int | None, quiet: bool, **options: Any,
) -> None:
    """Caption images: files, folders (searched to any depth), patterns such as 'photos/**/*.jpg', or URLs.

    An image that cannot be captioned is reported on stderr and skipped; the exit code is then 1. Started again
    with the same --out file (or sidecars), it goes on where it stopped and tries the failed images again.
    """
    images = find_images(paths)
    _check_usage(paths, images, format_, out)
    identify(model)
    if batch_size is not None:
        options["max_rows"] = batch_size
    with load(model, quiet, **options) as llm, CaptionBar(len(images), quiet) as bar:
        _require_vision(llm)
        alone = len(paths) == 1 and images == list(paths)
        output, done = _open(format_, out, not resume, llm.model, alone, bar)
        tally = Tally(started=time.monotonic())
        where = str(out) if out else "sidecars" if format_ == "sidecar" else ""
        try:
            with closing(output):
                for record in _records(llm, images, done, resume, format_, tally, prompt, max_tokens):
                    _tell(record, output, bar, tally)
                    bar.advance()
        except KeyboardInterrupt:
            bar.note(f"interrupted: {tally.summary(where)}; the same command goes on from here")
            raise click.exceptions.Exit(130) from None
        if not quiet:
            bar.note(tally.summary(where))
    if tally.failed:
        raise click.exceptions.Exit(1)


def _check_usage(paths: Sequence[str], images: Sequence[str], format_: Format, out: Path | None) -> None:
    if not images:
        raise click.UsageError(f"no images found in {', '.join(paths)}")
    if out is not None and format_ == "sidecar":
        raise click.UsageError("--out and --format sidecar exclude each other: sidecars lie beside the images")
    if out is not None and not out.parent.is_dir():
        raise click.UsageError(f"--out {out}: there is no folder {out.parent}")


def _require_vision(llm: LLM) -> None:
    if not llm.engine.info.vision:
        raise click.UsageError(f"{llm.model} takes no images ({llm.engine.info.architecture}); use a LLaVA model")


def _open(
    format_: Format, out: Path | None, overwrite: bool, model: str, alone: bool, bar: CaptionBar
) -> tuple[Output, frozenset[str]]:
    if format_ == "sidecar":
        return SidecarOutput(), frozenset()
    if out is None:
        return StreamOutput(format_, with_path=not alone, around=bar.aside), frozenset()
    file: tuple[FileOutput, frozenset[str]] = open_file(out, format_, model, overwrite)
    return file


def _records(
    llm: LLM, images: Sequence[str], done: frozenset[str], resume: bool, format_: Format, tally: Tally,
    prompt: str | None, max_tokens: int,
) -> Iterator[Record | None]:
    """A record for each image in order; None for those that were done before."""
    refused = _refused(images) if format_ == "sidecar" else {}

    def covered(image: str) -> bool:
        return image in done or (format_ == "sidecar" and resume and sidecar(image).exists())

    wanted = [image for image in images if image not in refused and not covered(image)]
    captions = llm.captions(iter(wanted), prompt, max_tokens=max_tokens)
    waiting = set(wanted)
    with closing(captions):
        for image in images:
            if image in refused:
                yield Record(image, error=refused[image])
            elif image not in waiting:
                tally.skipped += 1
                yield None
            else:
                yield _record(image, next(captions), llm.model)


def _record(image: str, result: Any, model: str) -> Record:
    if isinstance(result, Exception):
        # The engine names the file in its message; beside a path of its own that would say it twice.
        return Record(image, error=" ".join(str(result).split()).removeprefix(f"{image}: "))
    usage, timing = result.usage, result.timing
    return Record(
        path=image,
        model=model,
        text=result.text.strip(),
        prompt_tokens=usage.prompt_tokens,
        image_tokens=usage.image_tokens,
        completion_tokens=usage.completion_tokens,
        seconds=round(timing.total - timing.queued, 4),
    )


def _refused(images: Sequence[str]) -> dict[str, str]:
    """Images that cannot have a sidecar of their own, with the reason."""
    owners: dict[str, str] = {}
    refused = {}
    for image in images:
        if is_remote(image):
            refused[image] = "a URL has no place for a sidecar; use --out with jsonl or csv"
            continue
        target = str(sidecar(image).absolute())
        if target == str(Path(image).absolute()):
            refused[image] = "its own name ends in .txt, so a sidecar would replace it"
        elif target in owners:
            refused[image] = f"would share its sidecar with {owners[target]}; rename one of them"
        else:
            owners[target] = image
    return refused


def _tell(record: Record | None, output: Output, bar: CaptionBar, tally: Tally) -> None:
    if record is None:
        return
    if record.error is not None:
        tally.failed += 1
        bar.note(f"error: {record.path}: {record.error}")
    else:
        tally.captioned += 1
    output.write(record)


def _images(count: int) -> str:
    return "1 image" if count == 1 else f"{count} images"
