"""A replica that answers at once and by rule, without an engine: for tests of the server, and for its benchmarks.

Run as a process like the real one (`python null_replica.py ADDRESS`, settings on standard input), or in a running event
loop (`NullReplica(options).listen(address)`). It says the words of the last message, one a step. Options:

    delay           seconds before each step            vision, max_context, architecture    what it claims to be
    load_seconds    how long it takes to load           fail                    why it does not load
    die_after       steps, over all requests, after which the process kills itself (0: before the first answer)
    answer          what it says instead
    mute            choices, counted from the last, of which it says nothing
    wordless        whether its tokens come to no text
"""

from __future__ import annotations

import asyncio
import json
import os
import sys
from typing import Any

from triptych.engine.errors import ContextOverflowError, ImageError
from triptych.engine.request import Timing, Usage
from triptych.replica import protocol
from triptych.replica.connection import Connection, listen

# Of a picture by its detail.
IMAGE_TOKENS = {"high": 10, "low": 4}


class NullReplica:
    def __init__(self, options: dict[str, Any]) -> None:
        self.options = options
        self.steps = 0
        self.unfinished = 0
        self.aborted: list[str] = []
        self.submitted: list[protocol.Submit] = []
        self._tasks: set[asyncio.Task[None]] = set()

    async def listen(self, address: str) -> asyncio.Server:
        return await listen(address, lambda: _Peer(self).connection)

    @property
    def info(self) -> protocol.ModelInfo:
        options = self.options
        return protocol.ModelInfo(
            options.get("name", "null"), options.get("architecture", "null"), "fp32", "cpu",
            options.get("max_context", 4096), options.get("vision", True), options.get("weight_bytes", 1000),
            4096, 1000, fingerprint="fp_null",
            tokenizer={"bos_token": "<s>", "eos_token": "</s>", "pad_token": None, "chat_template": None},
        )  # fmt: skip

    def run(self, work: Any) -> asyncio.Task[None]:
        task = asyncio.ensure_future(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task


class _Peer:
    def __init__(self, replica: NullReplica) -> None:
        self.replica = replica
        self.pictures: set[bytes] = set()
        self.running: dict[str, asyncio.Task[None]] = {}
        self.used: dict[str, Usage] = {}
        self.connection = Connection(protocol.FromServer, self.receive, self.lost)

    def receive(self, frame: Any) -> None:
        send = self.connection.send
        match frame:
            case protocol.Hello():
                send(protocol.Welcome(protocol.VERSION, os.getpid()))
                self.replica.run(self.load())
            case protocol.Image():
                self.pictures.add(frame.digest)
            case protocol.Submit():
                self.replica.submitted.append(frame)
                self.replica.unfinished += 1
                self.running[frame.id] = self.replica.run(self.answer(frame))
            case protocol.Abort():
                if task := self.running.pop(frame.id, None):
                    task.cancel()
                    self.replica.aborted.append(frame.id)
                    self.replica.unfinished -= 1
                    send(protocol.End(frame.id, self.used.pop(frame.id, Usage(1, 0, 0, 0))))
            case protocol.Encode():
                words = said(frame.prompt)
                send(protocol.Encoded(frame.id, list(range(len(words))), words, " ".join(words)))
            case protocol.Decode():
                send(protocol.Decoded(frame.id, " ".join(map(str, frame.token_ids))))
            case protocol.Ask():
                send(protocol.Report(frame.id, self.replica.unfinished, {"running": self.replica.unfinished}))

    async def load(self) -> None:
        options = self.replica.options
        self.connection.send(protocol.Phase("process", 0.1))
        await asyncio.sleep(options.get("load_seconds", 0))
        if "fail" in options:
            self.connection.send(protocol.LoadFailed(protocol.Failure(options["fail"], "CheckpointError")))
            return
        self.connection.send(protocol.Phase("load", options.get("load_seconds", 0)))
        self.connection.send(protocol.Ready(self.replica.info))

    async def answer(self, frame: protocol.Submit) -> None:
        replica, send = self.replica, self.connection.send
        words = replica.options.get("answer", "").split() or said(frame.prompt)
        seen = sum(IMAGE_TOKENS[image.detail] for image in frame.images)
        prompt = len(words) + seen
        error = refusal(replica, frame, prompt)
        if error is not None:
            replica.unfinished -= 1
            self.running.pop(frame.id, None)
            send(protocol.End(frame.id, Usage(), error=protocol.failure_of(error)))
            return
        send(protocol.Admitted(frame.id, prompt, seen))
        limit = frame.params.max_tokens or len(words)
        for number, word in enumerate(words[:limit]):
            await asyncio.sleep(replica.options.get("delay", 0))  # also sends what is said so far
            if replica.steps == replica.options.get("die_after", -1):
                os.kill(os.getpid(), 9)
            replica.steps += 1
            last = number + 1 == min(limit, len(words))
            finish = ("stop" if limit >= len(words) else "length") if last else None
            text = "" if replica.options.get("wordless") else word if number == 0 else f" {word}"
            heard = frame.params.n - replica.options.get("mute", 0)
            pieces = [piece(frame, index, text, number, finish) for index in range(heard)]
            send(protocol.Tokens(frame.id, pieces))
            self.used[frame.id] = Usage(prompt, 0, seen, (number + 1) * frame.params.n)
        replica.unfinished -= 1
        self.running.pop(frame.id, None)
        self.used.pop(frame.id, None)
        usage = Usage(prompt, 0, seen, min(limit, len(words)) * frame.params.n)
        send(protocol.End(frame.id, usage, Timing(0.001, 0.002, 0.003)))

    def lost(self, reason: str) -> None:
        for id, task in self.running.items():
            task.cancel()
            self.replica.aborted.append(id)
            self.replica.unfinished -= 1


def refusal(replica: NullReplica, frame: protocol.Submit, prompt: int) -> Exception | None:
    if prompt >= replica.info.max_context:
        most = replica.info.max_context
        return ContextOverflowError(f"the prompt has {prompt} tokens but the context is {most} tokens")
    if b"broken" in b" ".join(str(word).encode() for word in said(frame.prompt)) and frame.images:
        return ImageError("images[0]: the image is truncated or damaged; copy or save it again")
    return None


def piece(frame: protocol.Submit, index: int, text: str, token: int, finish: str | None) -> protocol.Piece:
    logprobs = []
    if frame.params.logprobs is not None:
        logprobs = [protocol.Logprob(token, -0.5, 1, text.encode(), [(token, -0.5, text.encode())])]
    return protocol.Piece(index, text, [token], logprobs, finish)


def said(prompt: protocol.Prompt) -> list[str]:
    """The words of a prompt's last message."""
    if isinstance(prompt, protocol.RawPrompt):
        words = prompt.text.split() if isinstance(prompt.text, str) else [str(token) for token in prompt.text]
        return words or ["nothing"]
    content = prompt.messages[-1]["content"]
    texts = [content] if isinstance(content, str) else [part.get("text", "") for part in content]
    return " ".join(texts).split() or ["nothing"]


async def main() -> None:
    settings = json.loads(sys.stdin.buffer.readline())
    replica = NullReplica(settings["options"])
    server = await replica.listen(sys.argv[1])
    loop = asyncio.get_running_loop()
    gone = asyncio.Event()
    loop.add_reader(0, lambda: os.read(0, 4096) or os._exit(1))
    loop.add_signal_handler(15, gone.set)
    await gone.wait()
    while replica.unfinished:
        await asyncio.sleep(0.01)
    server.close()


if __name__ == "__main__":
    asyncio.run(main())
