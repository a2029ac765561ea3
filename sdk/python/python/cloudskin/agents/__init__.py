"""Sensors, models and actuators of a policy, in Python.

A policy names a file and the functions in it; all else, when they are called and what comes of it, is
the policy's. The functions are ordinary ones: a test may import the file and call them.

    from cloudskin.agents import actuator, model, sensor

    @sensor(nodes=["edge"], every="30s")
    async def watch_qos(runs, args, kwargs):
        return any(run.mean_ms() > 200 for run in runs)

    @model
    async def predict(history, horizon):
        return history.mean_ms()

    @actuator
    async def act(decision):
        print(decision["reason"])

They run in a process of their own, under limits, and only while they are asked: without network
(unless the policy grants it), without files but Python's own, without other programs. What they print
is in the control plane's log.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeVar, overload

__all__ = ["Function", "Samples", "actuator", "functions", "model", "sensor"]

_Call = TypeVar("_Call", bound=Callable[..., Any])


@dataclass(frozen=True)
class Function:
    """A function that a policy may name."""

    kind: str
    name: str
    call: Callable[..., Any]
    nodes: tuple[str, ...] = ()
    every: str | None = None
    cron: str | None = None


@dataclass(frozen=True)
class Samples:
    """What was measured of a service at a site, the latest last."""

    site: str
    """Its name."""
    here: bool
    """The service is there."""
    edge: bool
    """The site is at the edge."""
    step_s: int
    """Seconds from one sample to the next."""
    latency_ms: Sequence[float | None] = field(default_factory=list)
    """How long answers took, in milliseconds; None where nothing was answered."""
    cpu: Sequence[float | None] = field(default_factory=list)
    """Processors in use."""
    other_ms: Sequence[float | None] = field(default_factory=list)
    """For a model: the latency at the place that it is compared with."""
    sla_ms: float = 0.0
    """The service level, in milliseconds."""
    load: str = "latency"
    """What a model is to forecast: latency (ms), broken (a share) or cpu."""
    now_s: int = 0
    """Unix time in seconds."""

    def answered(self) -> list[float]:
        """The latencies that there are."""
        return [value for value in self.latency_ms if value is not None]

    def mean_ms(self) -> float:
        """The mean latency; not a number if nothing was answered."""
        answered = self.answered()
        return sum(answered) / len(answered) if answered else float("nan")


_known: dict[str, Function] = {}


def functions() -> Mapping[str, Function]:
    """All functions that were marked, by their names."""
    return dict(_known)


def _mark(kind: str, call: _Call, **options: Any) -> _Call:
    name = call.__name__
    if name in _known and _known[name].call is not call:
        raise ValueError(f"two functions are called `{name}`")
    _known[name] = Function(kind, name, call, **options)
    return call


@overload
def sensor(call: _Call, /) -> _Call: ...
@overload
def sensor(
    *, nodes: Iterable[str] = ..., every: str | None = ..., cron: str | None = ...
) -> Callable[[_Call], _Call]: ...
def sensor(
    call: _Call | None = None,
    /,
    *,
    nodes: Iterable[str] = (),
    every: str | None = None,
    cron: str | None = None,
) -> _Call | Callable[[_Call], _Call]:
    """Marks `async def f(runs, args, kwargs)` as a sensor.

    `runs` are the `Samples` of the last five minutes, of the sites in `nodes` or of all; `args` and
    `kwargs` are the policy's. True or a text makes the policy run, for that reason. A number, or one
    for each site by its name, is a figure for the policy's conditions: `here.f`, `there.f`. It is
    asked `every` so often ("30s", "5m"; a minute if nothing is said) or at times of `cron` (UTC).
    """
    if isinstance(nodes, str):
        raise TypeError('`nodes` are several: write nodes=["edge"]')

    def mark(call: _Call) -> _Call:
        return _mark("sensor", call, nodes=tuple(nodes), every=every, cron=cron)

    return mark if call is None else mark(call)


def model(call: _Call) -> _Call:
    """Marks `async def f(history, horizon)` as a model.

    `history` are the `Samples` of the last hours at one place, `horizon` is the time ahead as (from,
    to) in seconds. It answers what it forecasts, or (low, value, high) with four fifths of certainty.
    """
    return _mark("model", call)


def actuator(call: _Call) -> _Call:
    """Marks `async def f(decision)` as an actuator.

    `decision` is what a webhook would get, as a dict. What it returns is kept with the decision; if it
    raises, it is tried again.
    """
    return _mark("actuator", call)
