"""`triptych pull`: fetches a checkpoint before it is needed."""

from __future__ import annotations

import click

from ..models import identify
from .progress import loading


@click.command(name="pull")
@click.argument("model")
@click.option("--revision", metavar="REV", help="A branch, tag or commit. MODEL@REV means the same.")
@click.option("--quiet", "-q", is_flag=True, help="No progress bar.")
def command(model: str, revision: str | None, quiet: bool) -> None:
    """Download the checkpoint MODEL (owner/name) from the hub, or what is new of it.

    Only the files the engine reads are fetched; an interrupted download goes on where it stopped. Prints the
    folder on stdout.
    """
    source = identify(model)
    if source.kind == "embedded":
        click.echo(f"{source.name} comes with Triptych; there is nothing to download", err=True)
        click.echo(str(source.folder))
        return
    if source.kind == "folder":
        raise click.UsageError(f"{model} is a folder here; to download, name a hub checkpoint as owner/name")
    from ..engine.checkpoints.hub import download

    try:
        with loading(f"pulling {source.hub_id}", quiet) as progress:
            folder = download(source.hub_id, revision or source.revision, progress, refresh=True)
    except KeyboardInterrupt:
        click.echo("interrupted: the same command goes on from here", err=True)
        raise click.exceptions.Exit(130) from None
    click.echo(str(folder))
