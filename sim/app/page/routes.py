"""The API, version 1."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any, Literal

from fastapi import FastAPI, Response
from fastapi.responses import StreamingResponse

from ...errors import InputError
from .browse import Kind, accuracy, card, listing
from .forms import form
from .hardware import hardware
from .messages import (
    Accuracy,
    Card,
    Comparison,
    Form,
    Hardware,
    Listing,
    Question,
    RunRequest,
    RunState,
    Status,
)  # fmt: skip
from .questions import role_of, traffic_files
from .workers import Failure

if TYPE_CHECKING:
    from .runs import Run
    from .server import Service

Role = Literal["train", "serve"]


def add_routes(app: FastAPI, service: Service) -> None:
    """Every path below /api/v1."""
    _add_reading(app, service)
    _add_schemas(app, service)
    _add_steps(app, service)
    _add_runs(app, service)


def _add_reading(app: FastAPI, service: Service) -> None:
    @app.get("/api/v1/status", tags=["service"])
    async def status() -> Status:
        """Whether compiled code is loaded, and what is under way."""
        return service.status()

    @app.get("/api/v1/catalogue/{kind}", tags=["catalogue"])
    async def entries(kind: Kind) -> Listing:
        """Every entry of a kind."""
        return await service.read(lambda: listing(service.library, kind))

    @app.get("/api/v1/catalogue/{kind}/{name}", tags=["catalogue"])
    async def entry(kind: Kind, name: str) -> Card:
        """One entry: values, sources, file."""
        return await service.read(lambda: card(service.library, kind, name))

    @app.get("/api/v1/hardware", tags=["catalogue"])
    async def values(cluster: str, role: Role = "train", stack: str | None = None) -> Hardware:
        """Hardware values by the key paths that a change takes."""
        if "/" in cluster or cluster.endswith((".yaml", ".yml")) or (stack or "").endswith((".yaml", ".yml")):
            raise InputError(f"cluster {cluster!r} is not in the catalogue. The page reads no files.")
        return await service.read(lambda: hardware(service.library, cluster, stack or None, role))

    @app.get("/api/v1/accuracy", tags=["catalogue"])
    async def errors() -> Accuracy:
        """Errors against the shipped measurements."""
        return await service.read(accuracy)


def _add_schemas(app: FastAPI, service: Service) -> None:
    @app.get("/api/v1/forms/{verb}", tags=["schemas"])
    async def fields(verb: Role) -> Form:
        """The inputs of a verb, out of the schemas of its records."""
        return await service.read(lambda: form(verb))

    @app.get("/api/v1/schemas/{name}", tags=["schemas"])
    async def schema(name: str) -> dict[str, Any]:
        """JSON Schema of a record, as `gambrel schema` prints it."""
        from ..listings import schema_of

        return await service.read(lambda: schema_of(name))

    @app.get("/api/v1/traffic", tags=["catalogue"])
    async def traffic() -> list[str]:
        """Traces and generators that ship with the catalogue."""
        return await service.read(lambda: list(traffic_files(service.library)))


def _add_steps(app: FastAPI, service: Service) -> None:
    @app.post("/api/v1/steps", tags=["answers"], response_model=Comparison)
    async def steps(question: Question) -> Response:
        """Baseline and what-if of a training step, at once."""
        begin_s = time.perf_counter()
        if _served(question.scenario):
            raise Failure("input", "role: serving is simulated. Send it to /api/v1/runs.", "role")
        body = await service.step(question.model_dump())
        took = f"total;dur={(time.perf_counter() - begin_s) * 1e3:.1f}"
        return Response(
            body, media_type="application/json", headers={"server-timing": took, "cache-control": "no-store"}
        )


def _served(scenario: dict[str, Any]) -> bool:
    """True if a question is simulated, and so may last."""
    campaign = scenario.get("campaign")
    return role_of(scenario) not in (None, "train") or (isinstance(campaign, dict) and bool(campaign.get("faults")))


def _add_runs(app: FastAPI, service: Service) -> None:
    def known(name: str) -> Run:
        run = service.runs.known.get(name)
        if run is None:
            raise Failure("input", f"run {name[:40]!r} is not known. It is over for long, or never was.")
        return run

    @app.post("/api/v1/runs", tags=["answers"], status_code=202)
    async def begin(question: RunRequest) -> RunState:
        """Start a simulation; follow it by its events."""
        return RunState(**service.runs.begin(question.model_dump()).to_dict())

    @app.get("/api/v1/runs/{name}", tags=["answers"])
    async def state(name: str) -> RunState:
        """How far it is, and its answer once it is done."""
        return RunState(**known(name).to_dict())

    @app.get("/api/v1/runs/{name}/events", tags=["answers"], response_class=StreamingResponse)
    async def events(name: str) -> StreamingResponse:
        """Server-sent events: `progress`, then `done` with the answer, `failed` or `cancelled`. Going away cancels the run."""
        return StreamingResponse(
            service.runs.events(known(name)), media_type="text/event-stream", headers={"cache-control": "no-store"}
        )

    @app.delete("/api/v1/runs/{name}", tags=["answers"], status_code=202)
    async def cancel(name: str) -> RunState:
        """Stop it, whatever it does."""
        run = known(name)
        run.cancelled.set()
        return RunState(**run.to_dict(with_answer=False))
