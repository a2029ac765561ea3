"""Functions of policies, as a developer's own tests call them."""

import asyncio
import json
import math
import struct
import subprocess
import sys
from pathlib import Path
from typing import Any

import cloudskin.agents
import pytest
from cloudskin.agents import Samples, actuator, functions, model, sensor


def test_marked_functions_stay_what_they_are() -> None:
    @sensor(nodes=["edge"], every="30s")
    async def watch(runs: list[Samples], args: list[Any], kwargs: dict[str, Any]) -> bool:
        return any(run.mean_ms() > args[0] for run in runs)

    @model
    def predict(history: Samples, horizon: tuple[int, int]) -> float:
        return history.mean_ms()

    @actuator
    def act(decision: dict[str, Any]) -> str:
        return str(decision["reason"])

    busy = Samples("edge", True, True, 5, [100.0, None, 300.0])
    assert asyncio.run(watch([busy], [150], {}))
    assert predict(busy, (0, 300)) == 200.0
    assert math.isnan(Samples("edge", True, True, 5, [None]).mean_ms())
    assert functions()["watch"].every == "30s" and functions()["watch"].nodes == ("edge",)
    assert [functions()[name].kind for name in ("predict", "act")] == ["model", "actuator"]


def test_mistakes_are_named() -> None:
    with pytest.raises(TypeError, match="nodes"):
        sensor(nodes="edge")

    @model
    def twice(history: Samples, horizon: tuple[int, int]) -> float:
        return 0.0

    with pytest.raises(ValueError, match="two functions are called `twice`"):
        exec("@model\ndef twice(history, horizon): return 1.0", {"model": model})


def test_the_process_answers_in_frames() -> None:
    folder = Path(cloudskin.agents.__file__).parent
    runner = (folder / "_runner.py").read_text()
    agents = (folder / "__init__.py").read_text()
    with subprocess.Popen(
        [sys.executable, "-I", "-c", runner], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as process:
        assert process.stdin and process.stdout

        def ask(question: dict[str, Any]) -> Any:
            assert process.stdin and process.stdout
            body = json.dumps(question).encode()
            process.stdin.write(struct.pack("<I", len(body)) + body)
            process.stdin.flush()
            length = struct.unpack("<I", process.stdout.read(4))[0]
            return json.loads(process.stdout.read(length))

        source = "from cloudskin.agents import actuator\n@actuator\ndef act(decision): return decision\n"
        load = {"op": "load", "agents": agents, "file": "a.py", "source": source}
        assert "version 1" in ask({**load, "v": 2})["error"]
        assert ask({**load, "v": 1})["ok"][0]["name"] == "act"
        question = {"id": 7, "op": "actuator", "name": "act", "decision": {"a": [1, "b"]}}
        assert ask(question) == {"id": 7, "ok": {"a": [1, "b"]}}
        process.stdin.close()
        assert process.wait(timeout=30) == 0
