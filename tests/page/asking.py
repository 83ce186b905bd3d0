"""Questions that the tests of the page ask, and how they wait for answers."""

from __future__ import annotations

import time

TRAINING = {
    "role": "train",
    "model": "llama-3.1-8b",
    "cluster": "dgx-h100",
    "devices": 64,
    "plan": {"tp": 2, "pp": 2, "global_batch": 256},
    "demand": {"kind": "tokens", "tokens": 1e12, "seq_len": 4096},
}
SERVING = {
    "role": "serve",
    "model": "llama-3.1-8b",
    "cluster": "h100",
    "demand": {"kind": "traffic", "rate_requests_per_s": 4.0, "requests": 40, "input_tokens": 500, "output_tokens": 40},
}
ENDLESS = {**SERVING, "demand": {**SERVING["demand"], "requests": 50_000_000}}
PATIENCE_S = 600.0  # compiling everything on a busy machine takes minutes


def until(holds, within_s: float = PATIENCE_S):
    """Wait until something holds; the last value of it."""
    end_s = time.monotonic() + within_s
    while not (found := holds()):
        assert time.monotonic() < end_s, "it never came true"
        time.sleep(0.05)
    return found


def answer_of(client, question: dict, kind: str = "compare") -> dict:
    """Simulate to the end; its state."""
    run = client.post("/api/v1/runs", json={"kind": kind, **question}).json()
    path = f"/api/v1/runs/{run['id']}"
    return until(lambda: (now := client.get(path).json())["state"] in ("done", "failed", "cancelled") and now)
