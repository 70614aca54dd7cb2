"""Tokens per second of an embedded model through HTTP, beside its engine alone in the same run.

python bench/through_http.py [--model triptych/tiny-mixtral] [--requests 64] [--tokens 64] [--rounds 7]

Both get the same prompts with the same settings, `--at-once` at a time, each continued for exactly `--tokens` tokens on
one thread. The engine alone is a process that calls nothing but the engine; through HTTP are `triptych serve` and its
replica, asked by this process, once for whole answers and once for streams. Rounds alternate; medians are compared.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import socket
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from statistics import median

import aiohttp

_ENGINE = """
import json, sys, time
from triptych import LLM
from triptych.engine.request import SamplingParams
model, tokens, prompts = sys.argv[1], int(sys.argv[2]), json.loads(sys.argv[3])
llm = LLM(model, threads=1, device="cpu", prefix_cache=False)
params = dict(max_tokens=tokens, ignore_eos=True)
llm.generate(prompts[:2], **params)
print("ready", flush=True)
for line in sys.stdin:
    started = time.perf_counter()
    done = llm.generate(prompts, **params)
    made = sum(each.usage.completion_tokens for each in done)
    print(made / (time.perf_counter() - started), flush=True)
"""


def prompts(count: int) -> list[str]:
    """Sums that differ, in the words that the model knows."""
    return [f"What is {number % 50} + {number % 47}?" for number in range(count)]


class Engine:
    """The engine alone, in a process of its own."""

    def __init__(self, model: str, tokens: int, texts: list[str]) -> None:
        command = [sys.executable, "-c", _ENGINE, model, str(tokens), json.dumps(texts)]
        self._process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        assert self._process.stdout is not None
        assert self._process.stdout.readline().strip() == "ready"

    def round(self) -> float:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        print("go", file=self._process.stdin, flush=True)
        return float(self._process.stdout.readline())

    def close(self) -> None:
        self._process.kill()
        self._process.wait()


class Server:
    """`triptych serve` with the model, from a folder of its own."""

    def __init__(self, model: str, folder: Path) -> None:
        with socket.create_server(("127.0.0.1", 0)) as free:
            port = free.getsockname()[1]
        self.url = f"http://127.0.0.1:{port}"
        settings = folder / "triptych.toml"
        settings.write_text(
            f'port = {port}\ndata = "{folder / "data"}"\npreload = true\nrefresh_prices = "none"\n'
            f'[[models]]\nname = "{model}"\nthreads = 1\ndevice = "cpu"\nprefix_cache = false\n'
        )
        command = [str(Path(sys.executable).with_name("triptych")), "serve", "--config", str(settings)]
        self._process = subprocess.Popen(command, stderr=subprocess.DEVNULL)

    async def up(self, session: aiohttp.ClientSession) -> None:
        """Wait until it answers."""
        for _ in range(600):
            try:
                async with session.get(f"{self.url}/health") as answer:
                    if answer.status == 200:
                        return
            except aiohttp.ClientError:
                pass
            await asyncio.sleep(0.1)
        raise TimeoutError("the server did not start in a minute")

    def close(self) -> None:
        self._process.terminate()
        self._process.wait(30)


async def through_http(
    session: aiohttp.ClientSession, server: Server, arguments: argparse.Namespace, texts: list[str], stream: bool
) -> float:
    """Tokens per second of one round."""
    gate = asyncio.Semaphore(arguments.at_once)
    body = {"model": arguments.model, "max_tokens": arguments.tokens, "ignore_eos": True, "temperature": 0}

    async def ask(text: str) -> int:
        async with gate, session.post(
            f"{server.url}/v1/completions", json={**body, "prompt": text, "stream": stream,
                                                  "stream_options": {"include_usage": True} if stream else None}
        ) as answer:
            data = await answer.read()
            assert answer.status == 200, data
            whole = data.split(b"\n\n")[-3].removeprefix(b"data: ") if stream else data
            return int(json.loads(whole)["usage"]["completion_tokens"])

    started = time.perf_counter()
    made = sum(await asyncio.gather(*map(ask, texts)))
    return made / (time.perf_counter() - started)


async def compare(arguments: argparse.Namespace) -> None:
    texts = prompts(arguments.requests)
    engine = Engine(arguments.model, arguments.tokens, texts)
    with tempfile.TemporaryDirectory() as folder:
        server = Server(arguments.model, Path(folder))
        timeout = aiohttp.ClientTimeout(total=600)
        connector = aiohttp.TCPConnector(limit=0)
        rates: dict[str, list[float]] = {"engine alone": [], "whole answers": [], "streams": []}
        try:
            async with aiohttp.ClientSession(timeout=timeout, connector=connector) as session:
                await server.up(session)
                await through_http(session, server, arguments, texts[:4], False)
                for _ in range(arguments.rounds):
                    rates["engine alone"].append(engine.round())
                    rates["whole answers"].append(await through_http(session, server, arguments, texts, False))
                    rates["streams"].append(await through_http(session, server, arguments, texts, True))
        finally:
            engine.close()
            server.close()
    base = median(rates["engine alone"])
    print(f"{arguments.model}, {arguments.requests} requests of {arguments.tokens} tokens, {arguments.at_once} at once")
    for name, found in rates.items():
        print(f"  {name:14} {median(found):8.0f} tokens/s  {median(found) / base:5.2f} of the engine alone")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="triptych/tiny-mixtral")
    parser.add_argument("--requests", type=int, default=64)
    parser.add_argument("--tokens", type=int, default=64)
    parser.add_argument("--at-once", type=int, default=64)
    parser.add_argument("--rounds", type=int, default=7)
    asyncio.run(compare(parser.parse_args()))


if __name__ == "__main__":
    main()
