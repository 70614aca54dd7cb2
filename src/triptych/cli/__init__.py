"""The command line: `triptych COMMAND`. Each command is a module here, imported when it is used.

Help never imports torch. Errors are one line on stderr: exit code 2 for wrong usage, 1 for everything else, 130
for Ctrl-C; `--debug` or TRIPTYCH_DEBUG=1 shows the traceback as well.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from importlib import import_module
from typing import Any, NoReturn

import click

import triptych

COMMANDS = {
    "caption": "Caption images: files, folders, patterns or URLs.",
    "chat": "Ask questions, about images or without.",
    "serve": "Serve models to OpenAI clients.",
    "ps": "Show the models of a running server.",
    "stop": "Stop a model of a running server.",
    "predictions": "List, show, cancel and repeat the predictions of a running server.",
    "webhooks": "List webhooks and their tries, send them again.",
    "keys": "Make keys for a running server, list, change and revoke them.",
    "usage": "Show what was used of a running server, and what it cost.",
    "purge": "Delete old predictions of a running server.",
    "models": "List the models that are here and the architectures that run.",
    "pull": "Download a checkpoint from the hub.",
    "explain": "Say what would run where, in which precision and memory, and why.",
    "bench": "Measure loading, prefill and decoding on this machine.",
    "prices": "Show what models cost where, with sources and dates.",
    "cost": "Say what tokens and captions cost on this machine.",
    "config": "Print a server's settings and where each came from.",
    "version": "Print the versions of Triptych and what it stands on.",
}


class LazyGroup(click.Group):
    """A group that imports a command's module only when that command is asked for."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in COMMANDS:
            return None
        command: click.Command = import_module(f".{cmd_name}", __name__).command
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl(list(COMMANDS.items()))

    def main(self, args: Sequence[str] | None = None, *rest: Any, **extra: Any) -> NoReturn:
        """Runs the command and exits with its code."""
        words = sys.argv[1:] if args is None else list(args)
        debug = "--debug" in words or os.environ.get("TRIPTYCH_DEBUG") == "1"
        extra["standalone_mode"] = False
        sys.exit(self._run(words, rest, extra, debug))

    def _run(self, words: list[str], rest: tuple[Any, ...], extra: dict[str, Any], debug: bool) -> int:
        try:
            return super().main(words, *rest, **extra) or 0
        except click.UsageError as error:
            where = f" (see `{error.ctx.command_path} --help`)" if error.ctx else ""
            return _report(error, f"{error.format_message().rstrip('.')}{where}", 2, debug)
        except click.ClickException as error:
            return _report(error, error.format_message(), error.exit_code, debug)
        except click.Abort:
            click.echo("interrupted", err=True)
            return 130
        except OSError as error:
            place = f"{error.filename}: " if error.filename else ""
            return _report(error, f"{place}{error.strerror or error}", 1, debug)
        except Exception as error:
            return _report(error, _message(error), 1, debug)


def _message(error: Exception) -> str:
    # errors.py is free of torch, so telling the expected from the unexpected costs nothing.
    if isinstance(error, triptych.TriptychError):
        return str(error)
    return f"unexpected {type(error).__name__}: {error} (--debug shows where; please report it)"


def _report(error: Exception, message: str, code: int, debug: bool) -> int:
    if debug:
        import traceback

        traceback.print_exception(error)
    click.echo(f"error: {' '.join(message.split())}", err=True)
    return code


@click.group(cls=LazyGroup, context_settings={"help_option_names": ["-h", "--help"]}, invoke_without_command=True)
@click.option("--debug", is_flag=True, help="Show the traceback of errors; TRIPTYCH_DEBUG=1 does the same.")
@click.version_option(triptych.__version__, prog_name="triptych")
@click.pass_context
def main(ctx: click.Context, debug: bool) -> None:
    """Run LLaVA and Mixtral on hardware you own."""
    if os.environ.get("NO_COLOR"):
        ctx.color = False
    if ctx.invoked_subcommand is None:
        click.echo(ctx.get_help())
