"""`triptych serve`: the models behind the APIs that people already call."""

from __future__ import annotations

from pathlib import Path

import click


@click.command("serve")
@click.argument("models", nargs=-1, metavar="[MODEL]...")
@click.option("--config", "file", type=click.Path(dir_okay=False, path_type=Path), help="A TOML file of settings.")
@click.option("--host", help="Address to listen at. Default: 127.0.0.1, this machine only.")
@click.option("--port", type=int, help="Default: 8000.")
@click.option("--preload", is_flag=True, default=None, help="Load all models now rather than on first use.")
@click.option("--idle-unload", metavar="SECONDS", help="Stop a model that was not used for this long.")
@click.option("--memory-limit", metavar="SIZE", help="Weights of all running models together, like 24G.")
@click.option("--data", metavar="FOLDER", help="Where the server keeps its database and its files.")
@click.option("--key", "keys", multiple=True, help="A key that callers must have; several are possible.")
@click.option("--no-auth", is_flag=True, default=None, help="Serve other machines without any key.")
def command(
    models: tuple[str, ...],
    file: Path | None,
    host: str | None,
    port: int | None,
    preload: bool | None,
    idle_unload: str | None,
    memory_limit: str | None,
    data: str | None,
    keys: tuple[str, ...],
    no_auth: bool | None,
) -> None:
    """Serve models to OpenAI clients, until Ctrl-C.

    Without MODEL the three packaged demonstration models are served, under their own names and under those that people
    have in their code, such as llava-hf/llava-v1.6-mistral-7b-hf; answers always name the model that answered. MODEL is
    an embedded name, a checkpoint folder or a hub id; NAME=MODEL gives it another name. Models start on first use.

    Settings also come from a TOML file and from TRIPTYCH_* variables: `triptych config` shows them.
    """
    from ..server.settings import load
    from ..server.start import serve

    options = {
        "models": models,
        "host": host,
        "port": port,
        "preload": preload,
        "idle_unload": idle_unload,
        "memory_limit": memory_limit,
        "data": data,
        "keys": keys,
        "no_auth": no_auth,
    }
    serve(load(file, options=options))
