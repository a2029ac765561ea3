"""The process in which a policy's functions run: answers questions on its standard input.

A frame is its length as four bytes, the lowest first, and JSON; both ways, and no more than 1 MiB. It
begins with `load`; then each question is answered before the next. Whoever asks has confined the
process; this file is given to it as a whole.
"""

from __future__ import annotations

import asyncio
import importlib.machinery
import inspect
import io
import json
import linecache
import os
import struct
import sys
import traceback
import types
from typing import Any

VERSION = 1
FRAME_MAX = 1 << 20
TEXT_MAX = 1000


class Wrong(Exception):
    """What the policy or its functions do wrong, said as it is."""


def read(source: io.RawIOBase) -> dict[str, Any] | None:
    """The next question; None at the end."""

    def exactly(count: int) -> bytes | None:
        parts = b""
        while len(parts) < count:
            part = source.read(count - len(parts))
            if not part:
                return None
            parts += part
        return parts

    head = exactly(4)
    if head is None:
        return None
    length = struct.unpack("<I", head)[0]
    if length > FRAME_MAX:
        raise SystemExit("a question is longer than a frame")
    body = exactly(length)
    return None if body is None else json.loads(body)


def plain(value: Any) -> Any:
    """Numbers and lists of libraries are numbers and lists."""
    for name in ("item", "tolist"):
        convert = getattr(value, name, None)
        if callable(convert):
            try:
                return convert()
            except (TypeError, ValueError):
                continue
    raise Wrong(f"the answer holds a {type(value).__name__}, which is no plain data")


def encode(answer: dict[str, Any]) -> bytes:
    """An answer as bytes."""
    try:
        text = json.dumps(answer, allow_nan=False, default=plain)
    except ValueError as error:
        raise Wrong(f"the answer cannot be sent, it may hold what is no number: {error}") from error
    except (TypeError, RecursionError) as error:
        raise Wrong(f"the answer cannot be sent: {error}") from error
    if len(text) > FRAME_MAX:
        raise Wrong("the answer is longer than 1 MiB")
    return text.encode()


def explain(error: BaseException, file: str) -> str:
    """What went wrong, and where in the policy's file."""
    if isinstance(error, Wrong):
        return str(error)[:TEXT_MAX]
    where = ""
    for frame in traceback.extract_tb(error.__traceback__):
        if frame.filename == file:
            where = f", line {frame.lineno} of `{file}`"
    if isinstance(error, SyntaxError) and error.filename == file:
        where = f", line {error.lineno} of `{file}`"
        return f"SyntaxError: {error.msg}{where}"[:TEXT_MAX]
    return f"{type(error).__name__}: {error}"[: TEXT_MAX - len(where)] + where


def load(question: dict[str, Any]) -> types.ModuleType:
    """Runs the policy's file, for which `cloudskin.agents` is the one that came along."""
    package = types.ModuleType("cloudskin")
    package.__path__ = []
    agents = types.ModuleType("cloudskin.agents")
    agents.__spec__ = importlib.machinery.ModuleSpec("cloudskin.agents", None)
    sys.modules["cloudskin"], sys.modules["cloudskin.agents"] = package, agents
    package.agents = agents  # type: ignore[attr-defined]
    exec(compile(question["agents"], "cloudskin/agents/__init__.py", "exec"), agents.__dict__)
    file, source = question["file"], question["source"]
    linecache.cache[file] = (len(source), None, source.splitlines(True), file)
    module = types.ModuleType("policy")
    module.__file__ = file
    sys.modules["policy"] = module
    exec(compile(source, file, "exec"), module.__dict__)
    return agents


def arguments(agents: types.ModuleType, question: dict[str, Any]) -> tuple[Any, ...]:
    """What the function is called with."""
    if question["op"] == "sensor":
        runs = [agents.Samples(**run) for run in question["runs"]]
        return runs, question["args"], question["kwargs"]
    if question["op"] == "model":
        return agents.Samples(**question["history"]), tuple(question["horizon"])
    return (question["decision"],)


def call(agents: types.ModuleType, runner: asyncio.Runner, question: dict[str, Any]) -> Any:
    """Asks the function that the question names."""
    known = agents.functions().get(question["name"])
    if known is None or known.kind != question["op"]:
        names = [one.name for one in agents.functions().values() if one.kind == question["op"]]
        there = ", ".join(f"`{name}`" for name in names) or "none"
        raise Wrong(f"there is no {question['op']} `{question['name']}`: there is {there}")
    answer = known.call(*arguments(agents, question))
    if inspect.isawaitable(answer):

        async def awaited() -> Any:
            return await answer

        return runner.run(awaited())
    return answer


def main() -> None:
    source = io.FileIO(os.dup(0))
    sink = os.dup(1)
    # What functions print must not come between the frames.
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    os.dup2(2, 1)
    sys.stdout = io.TextIOWrapper(io.FileIO(1, "w"), line_buffering=True, write_through=True)
    agents: types.ModuleType | None = None
    file = ""
    with asyncio.Runner() as runner:
        while (question := read(source)) is not None:
            try:
                if question["op"] == "load":
                    if question["v"] != VERSION:
                        raise Wrong(f"this process speaks version {VERSION}, not {question['v']}")
                    file = question["file"]
                    agents = load(question)
                    each = agents.functions().values()
                    names = ("kind", "name", "nodes", "every", "cron")
                    found = [{name: getattr(one, name) for name in names} for one in each]
                    answer = {"v": VERSION, "ok": found}
                elif agents is None:
                    raise Wrong("no file was read: ask `load` first")
                else:
                    answer = {"id": question["id"], "ok": call(agents, runner, question)}
                frame = encode(answer)
            except (Exception, SystemExit) as error:  # noqa: BLE001
                frame = encode({"id": question.get("id", 0), "error": explain(error, file)})
            frame = struct.pack("<I", len(frame)) + frame
            while frame:
                frame = frame[os.write(sink, frame) :]


if __name__ == "__main__":
    main()
