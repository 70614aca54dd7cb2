"""`triptych caption`: one caption for each image of any number of files, folders and patterns."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, get_args

import click

from ..models import identify
from .inputs import find_images, is_remote
from .options import engine_options, load, model_option
from .output import FileOutput, Output, SidecarOutput, StreamOutput, look_at_file, sidecar
from .progress import CaptionBar
from .records import Format, Record

if TYPE_CHECKING:
    from ..llm import LLM


@dataclass(frozen=True, slots=True)
class Plan:
    """Which images an earlier run covered, which cannot be done, and the bytes of its file to keep (None: all)."""

    images: tuple[str, ...]
    done: frozenset[str] = frozenset()
    refused: Mapping[str, str] = field(default_factory=dict)
    keep: bytes | None = None

    @property
    def left(self) -> list[str]:
        return [image for image in self.images if image not in self.done]


@dataclass(slots=True)
class Tally:
    """What became of the images so far. `where` names the place their captions go to."""

    where: str
    skipped: int = 0
    captioned: int = 0
    failed: int = 0
    started: float = field(default_factory=time.monotonic)

    def summary(self) -> str:
        seconds = time.monotonic() - self.started
        parts = [f"captioned {_images(self.captioned)} in {seconds:.1f} s"]
        if self.captioned:
            parts[0] += f" ({self.captioned / max(seconds, 1e-9):.1f} images/s)"
        if self.where:
            parts[0] += f" -> {self.where}"
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
    plan = _plan(images, format_, out, identify(model).title, not resume)
    tally = Tally(skipped=len(plan.done), where=str(out) if out else "sidecars" if format_ == "sidecar" else "")
    if not plan.left:
        if not quiet:
            click.echo(tally.summary(), err=True)
        return
    if batch_size is not None:
        options["max_rows"] = batch_size
    with load(model, quiet, **options) as llm, CaptionBar(len(plan.left), quiet) as bar:
        _require_vision(llm)
        alone = len(paths) == 1 and images == list(paths)
        tally.started = time.monotonic()
        try:
            with closing(_open(format_, out, plan, alone, bar)) as output:
                for record in _records(llm, plan, prompt, max_tokens):
                    _tell(record, output, bar, tally)
        except KeyboardInterrupt:
            bar.note(f"interrupted: {tally.summary()}; the same command goes on from here")
            raise click.exceptions.Exit(130) from None
        if not quiet:
            bar.note(tally.summary())
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


def _plan(images: Sequence[str], format_: Format, out: Path | None, model: str, overwrite: bool) -> Plan:
    """Decided before the model is loaded, without writing anything."""
    if format_ == "sidecar":
        refused = _refused(images)
        there = (image for image in images if image not in refused and sidecar(image).exists())
        return Plan(tuple(images), frozenset() if overwrite else frozenset(there), refused)
    if out is None:
        return Plan(tuple(images))
    keep, finished = look_at_file(out, format_, model, overwrite)
    return Plan(tuple(images), finished & frozenset(images), keep=keep)


def _open(format_: Format, out: Path | None, plan: Plan, alone: bool, bar: CaptionBar) -> Output:
    if format_ == "sidecar":
        return SidecarOutput()
    if out is None:
        return StreamOutput(format_, with_path=not alone, around=bar.aside)
    return FileOutput(out, format_, plan.keep)


def _records(llm: LLM, plan: Plan, prompt: str | None, max_tokens: int) -> Iterator[Record]:
    """A record for each image that is left, in order."""
    wanted = (image for image in plan.left if image not in plan.refused)
    with closing(llm.captions(wanted, prompt, max_tokens=max_tokens)) as captions:
        for image in plan.left:
            if image in plan.refused:
                yield Record(image, error=plan.refused[image])
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


def _tell(record: Record, output: Output, bar: CaptionBar, tally: Tally) -> None:
    if record.error is not None:
        tally.failed += 1
        bar.note(f"error: {record.path}: {record.error}")
    else:
        tally.captioned += 1
    output.write(record)
    bar.advance()


def _images(count: int) -> str:
    return "1 image" if count == 1 else f"{count} images"
