"""A sensor, a model and an actuator of the policy beside this file.

The sensor and the actuator are all that a policy needs of its own; the model is here to show one.
"""

from cloudskin.agents import actuator, model, sensor


@sensor(nodes=["edge"], every="30s")
async def watch_qos(runs, args, kwargs):
    """Lets the policy run at once when the edge answers slower than its first argument says."""
    for run in runs:
        lately = run.answered()[-6:]
        if lately and sum(lately) / len(lately) > args[0]:
            return f"{run.site} answers in {sum(lately) / len(lately):.0f} ms"
    return None


@model
async def predict(history, horizon):
    """The share of time in which the level will be broken: a line through the last minutes."""
    points = [(at, value) for at, value in enumerate(history.latency_ms) if value is not None][-60:]
    if not points:
        raise ValueError("nothing was measured")
    count = len(points)
    mean_at = sum(at for at, _ in points) / count
    mean_ms = sum(value for _, value in points) / count
    spread = sum((at - mean_at) ** 2 for at, _ in points)
    slope = sum((at - mean_at) * (value - mean_ms) for at, value in points) / spread if spread else 0.0
    ahead = (len(history.latency_ms) - 1 - mean_at) + sum(horizon) / 2 / history.step_s
    expected = mean_ms + slope * ahead
    error = max(5.0, max(abs(value - mean_ms - slope * (at - mean_at)) for at, value in points))

    def share(latency):
        return min(1.0, max(0.0, 0.5 + (latency - history.sla_ms) / (2 * error)))

    return share(expected - error / 2), share(expected), share(expected + error / 2)


@actuator
async def act(decision):
    """What is printed is not lost: what is returned stands in the decision (`cloudskin why`)."""
    where = decision["to"] or "where it is"
    return f"{decision['subject']} belongs {where}: {decision['reason']}"
