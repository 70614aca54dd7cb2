"""`triptych prices`: what models cost where, by whom that is said and when; and newer lists."""

from __future__ import annotations

from datetime import date as Day
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from ..catalogue.errors import WorkloadError
from ..catalogue.workload import Workload, parse_workload

if TYPE_CHECKING:
    from ..catalogue.catalogue import Catalogue

DATE = click.DateTime(["%Y-%m-%d"])


class WorkloadType(click.ParamType[Workload]):
    """What is to be paid for, such as input=1M,output=200K,captions=500."""

    name = "workload"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Workload:
        if isinstance(value, Workload):
            return value
        try:
            return parse_workload(value)
        except WorkloadError as error:
            self.fail(str(error), param, ctx)


@click.command(
    "prices",
    options_metavar="[OPTIONS]",
    epilog="Examples: triptych prices mixtral --workload input=5M,output=1M; triptych prices llava --workload "
    "captions=1000; triptych prices --provider replicate; triptych prices refresh models.dev",
)
@click.argument("model", required=False)
@click.argument("source", required=False)
@click.option("--workload", "-w", type=WorkloadType(), metavar="PARTS",
              help="Rank live routes by what this costs: parts such as input=1M,output=200K,captions=500, or one of "
                   "input, output, blend, caption.")
@click.option("--provider", "-p", metavar="NAME", help="What this provider offers, in place of a model.")
@click.option("--all", "everything", is_flag=True,
              help="Every observation and every claim with its source, not only what is shown.")
@click.option("--since", type=DATE, metavar="DATE", help="What changed since this day, as YYYY-MM-DD.")
@click.option("--until", type=DATE, metavar="DATE", help="With --since: the last day. Default: today.")
@click.option("--dated", type=DATE, metavar="DATE", help="With refresh: the day that the list is of. Default: today.")
@click.option("--data", metavar="FOLDER", help="Where refreshed prices and measurements are. Default: the server's.")
@click.option("--json", "as_json", is_flag=True, help="As JSON.")
def command(
    model: str | None, source: str | None, workload: Workload | None, provider: str | None, everything: bool,
    since: datetime | None, until: datetime | None, dated: datetime | None, data: str | None, as_json: bool,
) -> None:
    """Show what MODEL costs at every provider known, with the source and date of each price.

    MODEL is any name people use for it: mixtral, llava-1.6-mistral-7b, runware:150@2, a hub id. Without one, the models
    are listed.

    `triptych prices refresh SOURCE` reads a newer list from SOURCE, an address or a file in the form of models.dev or
    of LiteLLM (those two names stand for their addresses), and records what it says beside what was known.
    """  # fmt: skip
    folder = data_folder(data)
    if model == "refresh" or source is not None:
        _refresh(model, source, folder, dated, as_json)
        return
    if dated is not None:
        raise click.UsageError("--dated is for refresh")
    if until is not None and since is None:
        raise click.UsageError("--until needs --since")
    if sum(given is not None for given in (model, provider, since)) > 1:
        raise click.UsageError("give a MODEL, or --provider, or --since: one of them")
    if workload is not None and model is None:
        raise click.UsageError("--workload is for a MODEL")
    _Shown(load_catalogue(folder), as_json, everything).show(model, provider, workload, _day(since), _day(until))


class _Shown:
    """Answers one question, as JSON or for people."""

    def __init__(self, catalogue: Catalogue, as_json: bool, everything: bool) -> None:
        from ..catalogue.load import today
        from ..catalogue.views import Views

        self._catalogue = catalogue
        self._on = today()
        self._views = Views(catalogue, self._on)
        self._json = as_json
        self._everything = everything

    def show(
        self, model: str | None, provider: str | None, workload: Workload | None, since: Day | None, until: Day | None
    ) -> None:
        from . import price_tables as tables

        views = self._views
        if since is not None:
            changed = views.changes(since, until or self._on)
            self._answer(changed, lambda: tables.changes(changed))
        elif provider is not None:
            sold = views.provider(self._catalogue.provider(provider))
            self._answer(sold, lambda: tables.provider(sold, self._everything))
        elif model is None:
            listed = views.models()
            self._answer(listed, lambda: tables.models(listed))
        elif workload is not None:
            ranked = views.cheapest(self._catalogue.model(model), workload)
            self._answer(ranked, lambda: tables.ranking(ranked))
        else:
            found = views.model(self._catalogue.model(model))
            self._answer(found, lambda: tables.model(found, self._everything))

    def _answer(self, answer: Any, table: Any) -> None:
        if self._json:
            print_json(answer)
        else:
            table()


def _refresh(model: str | None, source: str | None, folder: Path, dated: datetime | None, as_json: bool) -> None:
    from ..catalogue.download import KNOWN
    from ..catalogue.load import today
    from ..catalogue.refresh import refresh

    if model != "refresh" or source is None:
        word = "only `refresh` takes a SOURCE" if source else "refresh needs a SOURCE"
        raise click.UsageError(f"{word}: triptych prices refresh ADDRESS, FILE, {' or '.join(KNOWN)}")
    done = refresh(source, folder, today(), _day(dated))
    if as_json:
        print_json({"form": done.form, "record": str(done.record) if done.record else None, "prices": done.prices,
                    "routes": done.routes, "others": done.others, "passed_over": done.passed_over,
                    "before": done.before})  # fmt: skip
        return
    for reason in done.passed_over:
        click.echo(f"passed over: {reason}", err=True)
    if done.record is None:
        click.echo(f"{source}: nothing new; this list is recorded already")
        return
    new = f"; new routes: {', '.join(done.routes)}" if done.routes else ""
    click.echo(f"{source}: {done.prices} prices of the catalogue's models recorded in {done.record}{new}")
    click.echo(f"its other {done.others:,} entries are of other models. `triptych prices --since DATE` shows changes.")


def data_folder(given: str | None) -> Path:
    """The folder of the server's settings, or the one that was given."""
    from ..server.settings import load

    return load(options={"data": given}).data


def load_catalogue(folder: Path) -> Catalogue:
    """With a warning for every record that could not be used."""
    from ..catalogue.load import load

    catalogue = load(folder)
    for problem in catalogue.problems:
        click.echo(f"warning: {problem}", err=True)
    return catalogue


def print_json(answer: Any) -> None:
    import msgspec

    click.echo(msgspec.json.format(msgspec.json.encode(answer), indent=2).decode())


def _day(moment: datetime | None) -> Day | None:
    return moment.date() if moment else None
