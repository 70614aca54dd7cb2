"""Memory over many mixed requests: python bench/soak.py [--requests 10000] [--every 500] [--at-once 16] [--minutes 90]

A server of its own with the three embedded models, as `triptych serve` starts it, on a free port of this machine. Their
caches are small (16 MB of image features, 32 MB of keys and values), so that they are full after the warm-up: with the
usual 256 MB a model of these would take up memory for longer than this lasts. The
mixture: chats, chats about pictures that no cache has seen, streams of both, completions that are scored, requests that
are refused, and some that are left before their answer is there. What is resident (anonymous memory, without mapped
files) of the server and of each replica is printed as it goes. At the end the verdict: after a warm-up of the first
third, no process may have grown by more than 5 % or 12 MB, whichever is more, and every request must have ended as it
should.
"""

from __future__ import annotations

import argparse
import asyncio
import base64
import io
import os
import random
import re
import socket
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Awaitable, Callable
from pathlib import Path
from statistics import median
from typing import Any

import aiohttp
from PIL import Image, ImageDraw

SEEING, SUMS = ("triptych/tiny-llava-1.5", "triptych/tiny-llava-1.6"), "triptych/tiny-mixtral"
CHAT, COMPLETIONS = "/v1/chat/completions", "/v1/completions"
COLORS = {"red": "#d62728", "green": "#2ca02c", "blue": "#1f4fd8", "purple": "#800080", "black": "#141414"}
WARM = 0.35
GROWTH, SPARE_MB = 0.05, 12.0


_MODEL = '[[models]]\nname = "{name}"\nimage_memory = "16M"\nkv_memory = "32M"\n'


class Server:
    """`triptych serve` as a process, and what it and its replicas occupy."""

    def __init__(self) -> None:
        with socket.create_server(("127.0.0.1", 0)) as free:
            self.port = free.getsockname()[1]
        self.folder = tempfile.TemporaryDirectory(prefix="triptych-soak-")
        settings = Path(self.folder.name, "triptych.toml")
        settings.write_text('refresh_prices = "none"\n' + "".join(_MODEL.format(name=name) for name in (*SEEING, SUMS)))
        command = [sys.executable, "-c", "from triptych.cli import main; main()", "serve", "--port", str(self.port)]
        command += ["--config", str(settings)]
        with open(f"{self.folder.name}/log", "wb") as log:
            self.process = subprocess.Popen(command, stderr=log, env={**os.environ, "TRIPTYCH_DATA": self.folder.name})

    async def __aenter__(self) -> Server:
        self.http = aiohttp.ClientSession(
            f"http://127.0.0.1:{self.port}", connector=aiohttp.TCPConnector(limit=0),
            timeout=aiohttp.ClientTimeout(120),
        )  # fmt: skip
        try:
            for model in (*SEEING, SUMS):
                await self._start(model)
        except BaseException:
            await self.__aexit__()
            raise
        return self

    async def _start(self, model: str) -> None:
        for _ in range(600):
            try:
                async with self.http.post(f"/triptych/v1/models/{model}/start", json={}) as answer:
                    assert answer.status == 200, await answer.text()
                    return
            except aiohttp.ClientConnectionError:
                assert self.process.poll() is None, Path(self.folder.name, "log").read_text()
                await asyncio.sleep(0.1)
        raise TimeoutError("the server did not start in a minute")

    async def __aexit__(self, *error: object) -> None:
        await self.http.close()
        self.process.terminate()
        try:
            self.process.wait(30)
        except subprocess.TimeoutExpired:
            self.process.kill()
        self.folder.cleanup()

    async def memory(self) -> dict[str, float]:
        """MB by process."""
        async with self.http.get("/triptych/v1/models") as answer:
            models = (await answer.json())["models"]
        pids = {"server": self.process.pid, **{model["name"].partition("/")[2]: model["pid"] for model in models}}
        return {name: _anonymous(pid) for name, pid in pids.items()}


def _anonymous(pid: int) -> float:
    found = re.search(r"RssAnon:\s+(\d+) kB", Path(f"/proc/{pid}/status").read_text())
    assert found is not None
    return int(found[1]) / 1e3


class Mixture:
    """Requests of all kinds, drawn from a seed; `ended` counts how they ended, `wrong` those that should not have."""

    def __init__(self, http: aiohttp.ClientSession, seed: int) -> None:
        self.http = http
        self.drawn = random.Random(seed)
        self.ended: Counter[str] = Counter()
        self.wrong: list[str] = []

    async def one(self) -> None:
        kinds: dict[Callable[[], Awaitable[None]], int] = {
            self.chat: 25, self.picture: 25, self.stream: 20, self.completion: 10, self.refused: 12, self.left: 8,
        }  # fmt: skip
        [kind] = self.drawn.choices(list(kinds), list(kinds.values()))
        try:
            await kind()
            self.ended[kind.__name__] += 1
        except (AssertionError, aiohttp.ClientError, TimeoutError) as error:
            self.wrong.append(f"{kind.__name__}: {type(error).__name__} {error}"[:300])

    async def chat(self) -> None:
        await self._ask(CHAT, self._sum(), 200)

    async def picture(self) -> None:
        await self._ask(CHAT, self._about_a_picture(), 200)

    async def stream(self) -> None:
        body = self._about_a_picture() if self.drawn.random() < 0.4 else self._sum()
        text = await self._ask(CHAT, {**body, "stream": True, "stream_options": {"include_usage": True}}, 200)
        assert text.endswith("data: [DONE]\n\n"), text[-200:]
        assert '"error"' not in text, text[-300:]

    async def completion(self) -> None:
        prompt = f"[INST] What is {self.drawn.randrange(99)} + {self.drawn.randrange(99)}? [/INST]"
        body = {"model": SUMS, "prompt": prompt, "max_tokens": 4, "echo": True, "logprobs": 2}
        await self._ask(COMPLETIONS, body, 200)

    async def refused(self) -> None:
        """A bad picture, an unknown model, a value out of range, a prompt without end, no JSON."""
        endless = [{"role": "user", "content": f"{self.drawn.random()} " + "1 + 1 " * 3000}]
        body, status = self.drawn.choice([
            (self._about(b"\x89PNG\r\n\x1a\n" + self.drawn.randbytes(2000)), 400),
            ({**self._sum(), "model": f"no-such-{self.drawn.random()}"}, 404),
            ({**self._sum(), "temperature": 9}, 400),
            ({"model": SUMS, "messages": endless}, 400),
            (self.drawn.randbytes(300), 400),
        ])  # fmt: skip
        await self._ask(CHAT, body, status)

    async def left(self) -> None:
        """Left before the answer, or behind the first event of a stream."""
        body = {**self._about_a_picture(), "max_tokens": 300, "ignore_eos": True, "stream": self.drawn.random() < 0.5}
        if body["stream"]:
            async with self.http.post(CHAT, json=body) as answer:
                await answer.content.readline()
                answer.close()
            return
        request = asyncio.ensure_future(self._ask(CHAT, body, 200))
        await asyncio.sleep(self.drawn.uniform(0, 0.1))
        request.cancel()
        await asyncio.wait([request])

    async def _ask(self, path: str, body: Any, status: int) -> str:
        sent = {"data": body} if isinstance(body, bytes) else {"json": body}
        async with self.http.post(path, headers={"content-type": "application/json"}, **sent) as answer:
            text = await answer.text()
        assert answer.status == status, f"{answer.status} for {status}: {text[:200]}"
        return text

    def _sum(self) -> dict[str, Any]:
        text = f"What is {self.drawn.randrange(99)} + {self.drawn.randrange(99)}?"
        return {"model": SUMS, "messages": [{"role": "user", "content": text}], "max_tokens": 6, "temperature": 0}

    def _about_a_picture(self) -> dict[str, Any]:
        return self._about(self._drawn_picture())

    def _about(self, data: bytes) -> dict[str, Any]:
        url = f"data:image/png;base64,{base64.b64encode(data).decode()}"
        parts = [{"type": "image_url", "image_url": {"url": url}}, {"type": "text", "text": "What shape is it?"}]
        model = self.drawn.choice(SEEING)
        return {"model": model, "messages": [{"role": "user", "content": parts}], "max_tokens": 6, "temperature": 0}

    def _drawn_picture(self) -> bytes:
        """A circle or square of its own size, colour and place."""
        width, height = self.drawn.randrange(150, 500), self.drawn.randrange(150, 500)
        canvas = Image.new("RGB", (width, height), "#fdfdfa")
        pen, side = ImageDraw.Draw(canvas), self.drawn.uniform(0.25, 0.4) * min(width, height)
        x, y = self.drawn.uniform(0, width - side), self.drawn.uniform(0, height - side)
        draw = pen.ellipse if self.drawn.random() < 0.5 else pen.rectangle
        draw((x, y, x + side, y + side), fill=self.drawn.choice(list(COLORS.values())))
        out = io.BytesIO()
        canvas.save(out, "PNG", compress_level=1)
        return out.getvalue()


async def soak(requests: int, every: int, at_once: int, minutes: float, seed: int) -> bool:
    """Print what is resident every so many requests; whether it stayed where it was."""
    end = time.monotonic() + 60 * minutes
    async with Server() as server:
        mixture, samples = Mixture(server.http, seed), [(0, await server.memory())]
        print("requests | " + " | ".join(f"{name}, MB" for name in samples[0][1]) + " | requests/s", flush=True)
        _show(samples[0], 0)
        while (done := samples[-1][0]) < requests and time.monotonic() < end:
            count, begun = min(every, requests - done), time.perf_counter()
            waiting = iter(range(count))

            async def work(waiting: Any = waiting) -> None:
                for _ in waiting:
                    await mixture.one()

            await asyncio.gather(*(work() for _ in range(at_once)))
            samples.append((done + count, await server.memory()))
            _show(samples[-1], count / (time.perf_counter() - begun))
        under_way = await _under_way(server)
    return _verdict(samples, mixture, under_way)


def _show(sample: tuple[int, dict[str, float]], rate: float) -> None:
    done, memory = sample
    columns = " | ".join(f"{memory[name]:{len(name) + 4}.1f}" for name in memory)
    print(f"{done:8} | {columns} | {rate:.1f}", flush=True)


async def _under_way(server: Server) -> int:
    """Requests that have not ended a second after the last one."""
    await asyncio.sleep(1)
    async with server.http.get("/triptych/v1/models") as answer:
        return sum(model["requests"] for model in (await answer.json())["models"])


def _verdict(samples: list[tuple[int, dict[str, float]]], mixture: Mixture, under_way: int) -> bool:
    print("ended as they should: " + ", ".join(f"{count} {name}" for name, count in sorted(mixture.ended.items())))
    for wrong in mixture.wrong[:20]:
        print(f"wrong: {wrong}")
    if under_way:
        print(f"{under_way} requests are still under way")
    after = [memory for done, memory in samples if done >= WARM * samples[-1][0]]
    good = not mixture.wrong and not under_way
    for name in samples[0][1]:
        # Middles of the first and of the last quarter: one sample may hold a request's pictures.
        values = [memory[name] for memory in after]
        quarter = max(1, len(values) // 4)
        warm, late = median(values[:quarter]), median(values[-quarter:])
        flat = late - warm <= max(GROWTH * warm, SPARE_MB)
        good = good and flat
        print(f"{name}: {warm:.1f} MB warm, {late:.1f} MB at the end: {'flat' if flat else 'GROWS'}")
    print("verdict: " + ("flat" if good else "NOT flat"))
    return good


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--requests", type=int, default=10_000)
    parser.add_argument("--every", type=int, default=500)
    parser.add_argument("--at-once", type=int, default=16)
    parser.add_argument("--minutes", type=float, default=90)
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    asked = (options.requests, options.every, options.at_once, options.minutes, options.seed)
    sys.exit(0 if asyncio.run(soak(*asked)) else 1)


if __name__ == "__main__":
    main()
