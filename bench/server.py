"""What the server itself costs, before a replica that answers at once (tests/support/null_replica.py).

python bench/server.py [--cases throughput accounts latency streams images idle] [--seconds 10]

The server is a process of its own on one core, the replica another, the load this one. throughput: chat completions
per second, 64 at a time. accounts: CPU of a chat with accounts and metering and without, by turns. latency: what the
server adds to one request at a time, to its end and to its first streamed token, beside the same requests put to the
replica directly in the same run. streams: 256 streams of 64 tokens, one every 20 ms: frames lost, merged or late.
images: bodies of 290 KB with a base64 image, 100 a second. idle: memory and CPU of a server that nobody calls.
"""

from __future__ import annotations

import asyncio
import base64
import os
import time
from statistics import median

from null_server import Bench, percentile, run, timed

from triptych.engine.request import SamplingParams
from triptych.replica.client import ReplicaClient
from triptych.replica.protocol import ChatPrompt


async def throughput(seconds: float) -> None:
    async with Bench(seconds, {"answer": "yes"}) as bench:
        await bench.chat()
        done, end, before = 0, time.perf_counter() + seconds, bench.cpu()

        async def ask() -> None:
            nonlocal done
            while time.perf_counter() < end:
                await bench.chat()
                done += 1

        started = time.perf_counter()
        await asyncio.gather(*(ask() for _ in range(64)))
        spent, cpu = time.perf_counter() - started, bench.cpu() - before
        print(f"throughput: {done / spent:.0f} chat completions/s; server {cpu / done * 1e6:.0f} us of CPU each, "
              f"{done / cpu:.0f}/s on a whole core")  # fmt: skip


async def accounts(seconds: float) -> None:
    """The same chats by turns at servers that keep nothing, meter everybody, ask for a key, and hold it to limits."""
    body = {"answer": "yes"}
    async with (
        Bench(seconds, body, plain=True) as plain, Bench(seconds, body) as metered,
        Bench(seconds, body, key="boss") as priced, Bench(seconds, body, key="boss") as limited,
    ):  # fmt: skip
        await make_key(priced)
        await make_key(limited, budget="1000", requests_per_minute=10**9, tokens_per_minute=10**9)
        cpu: dict[Bench, list[float]] = {plain: [], metered: [], priced: [], limited: []}
        for _ in range(max(4, round(seconds))):
            for bench, spent in cpu.items():
                before = bench.cpu()
                for _ in range(8):
                    await asyncio.gather(*(bench.chat() for _ in range(64)))
                await asyncio.sleep(1.2)  # what is stored behind the answers counts too
                spent.append((bench.cpu() - before) / 512)
        base, *others = (1e6 * median(spent) for spent in cpu.values())
        told = ", ".join(
            f"{cost:.0f} us {what} ({100 * (cost / base - 1):+.0f} %)"
            for what, cost in zip(("metered", "with a key and a price", "with every limit too"), others, strict=True)
        )
        print(f"accounts: a chat takes {base:.0f} us of CPU without accounts, {told}")


async def make_key(bench: Bench, **limits: object) -> None:
    """From now on this key asks."""
    boss = {"authorization": "Bearer boss"}
    async with bench.http.post("/triptych/v1/keys", json={"name": "bench", **limits}, headers=boss) as answer:
        key = (await answer.json())["key"]
    bench.http.headers["authorization"] = f"Bearer {key}"


async def latency(seconds: float) -> None:
    async with Bench(seconds, {"answer": "yes"}) as bench:
        client = ReplicaClient(bench.address)
        await client.connect()
        await client.ready()
        prompt = ChatPrompt([{"role": "user", "content": "one two three"}])

        async def direct() -> None:
            async for _ in client.submit(prompt, SamplingParams()):
                pass

        async def first_token() -> None:
            body = {"model": "null", "stream": True, "messages": [{"role": "user", "content": "one"}]}
            async with bench.http.post("/v1/chat/completions", json=body) as answer:
                await answer.content.readuntil(b"\n\n")

        through, bare, first = [], [], []
        end = time.perf_counter() + seconds
        while time.perf_counter() < end:
            through.append(await timed(bench.chat))
            bare.append(await timed(direct))
            first.append(await timed(first_token))
        client.close()
        added = [1000 * (percentile(times, 99) - median(bare)) for times in (through, first)]
        print(f"latency: p50 {1000 * median(through):.2f} ms through the server, {1000 * median(bare):.2f} ms direct; "
              f"added p99 {added[0]:.2f} ms; first streamed token added p99 {added[1]:.2f} ms")  # fmt: skip


async def streams(seconds: float) -> None:
    pace, tokens, count = 0.02, 64, 256
    async with Bench(seconds, {"delay": pace, "answer": " ".join(["word"] * tokens)}) as bench:
        gaps: list[float] = []
        merged = lost = 0

        async def read() -> None:
            nonlocal merged, lost
            body = {"model": "null", "stream": True, "messages": [{"role": "user", "content": "x"}]}
            frames, last = 0, 0.0
            async with bench.http.post("/v1/chat/completions", json=body) as answer:
                async for chunk, _ in answer.content.iter_chunks():
                    found = chunk.count(b'"delta":{"content":"')
                    now = time.perf_counter()
                    if found:
                        if last:
                            gaps.append(now - last)
                        merged += found > 1
                        frames, last = frames + found, now
            lost += tokens - frames

        before = bench.cpu()
        await asyncio.gather(*(read() for _ in range(count)))
        cpu = bench.cpu() - before
        print(f"streams: {count} x {tokens} tokens at {1000 * pace:.0f} ms: {lost} lost, {merged} merged, gap p50 "
              f"{1000 * median(gaps):.1f} ms, p99 {1000 * percentile(gaps, 99):.1f} ms; "
              f"{cpu / count / tokens * 1e6:.0f} us of CPU a token")  # fmt: skip


async def images(seconds: float) -> None:
    async with Bench(seconds, {"answer": "yes"}) as bench:
        times: list[float] = []

        async def ask(number: int) -> None:
            data = base64.b64encode(number.to_bytes(4, "big") + os.urandom(217_000)).decode()
            content = [{"type": "image_url", "image_url": {"url": f"data:image/png;base64,{data}"}},
                       {"type": "text", "text": "what is this"}]  # fmt: skip
            times.append(await timed(lambda: bench.chat(messages=[{"role": "user", "content": content}])))

        tasks = []
        for number in range(int(100 * seconds)):
            tasks.append(asyncio.ensure_future(ask(number)))
            await asyncio.sleep(0.01)
        await asyncio.gather(*tasks)
        print(f"images: 290 KB bodies, {len(times) / seconds:.0f} a second: p50 {1000 * median(times):.1f} ms, p99 "
              f"{1000 * percentile(times, 99):.1f} ms; {bench.resident():.0f} MB resident after")  # fmt: skip


async def idle(seconds: float) -> None:
    async with Bench(seconds, {}) as bench:
        await bench.chat()
        await bench.rest()


CASES = (throughput, accounts, latency, streams, images, idle)

if __name__ == "__main__":
    run(__doc__, {case.__name__: case for case in CASES})
