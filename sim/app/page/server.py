"""The application: pages, assets, and the versioned JSON API that the pages use."""

from __future__ import annotations

import asyncio
import json
import threading
from collections.abc import AsyncIterator, Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from functools import cache
from pathlib import Path
from typing import Any, Literal, NamedTuple, TypeVar

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse, Response
from starlette.exceptions import HTTPException

from ... import __version__
from ...catalog.library import Library
from ...errors import GambrelError
from .guard import MOST_BODY_BYTES, Guard
from .messages import Failed, Status
from .runs import Runs
from .workers import Failure, Pool

STEP_LIMIT_S = 20.0
RUN_LIMIT_S = 600.0
STEPS_AT_ONCE = 2
STEPS_WAITING = 14
RUNS_AT_ONCE = 2
RUNS_WAITING = 4
CODES = {"input": 422, "unknown": 422, "infeasible": 422, "limit": 503, "cancelled": 409, "bug": 500, "refused": 403}
Answer = TypeVar("Answer")


class Limits(NamedTuple):
    """How long a question may take [s], and how many are answered at once and wait."""

    step_s: float = STEP_LIMIT_S
    run_s: float = RUN_LIMIT_S
    steps: tuple[int, int] = (STEPS_AT_ONCE, STEPS_WAITING)
    runs: tuple[int, int] = (RUNS_AT_ONCE, RUNS_WAITING)


class Service:
    """What the routes share: the catalogue, and the processes that answer."""

    def __init__(self, catalog: Path | None, limits: Limits) -> None:
        self.limits = limits
        self.library = Library(catalog)
        self.steps = Pool(limits.steps[0], limits.step_s, limits.steps[1], catalog)
        self.simulations = Pool(limits.runs[0], limits.run_s, limits.runs[1], catalog)
        self.runs = Runs(self.simulations)
        self.step_threads = ThreadPoolExecutor(self.steps.most, thread_name_prefix="step")
        self.reading = ThreadPoolExecutor(2, thread_name_prefix="catalogue")

    def start(self) -> None:
        """Bring the processes up in the background; pages are shown meanwhile."""
        for pool in (self.steps, self.simulations):
            threading.Thread(target=pool.start, name="birth", daemon=True).start()

    def stop(self) -> None:
        self.runs.close()
        self.steps.close()
        self.simulations.close()
        for threads in (self.step_threads, self.reading):
            threads.shutdown(wait=False, cancel_futures=True)

    async def step(self, message: dict[str, Any]) -> bytes:
        """An answer that needs no simulation, as JSON text."""
        self.steps.enter()
        cancelled = threading.Event()
        try:
            call = lambda: self.steps.ask(message, cancelled, _unseen)
            return await asyncio.get_running_loop().run_in_executor(self.step_threads, call)
        except asyncio.CancelledError:
            cancelled.set()
            raise
        finally:
            self.steps.leave()

    async def read(self, look: Callable[[], Answer]) -> Answer:
        """What the catalogue says, off the event loop."""
        return await asyncio.get_running_loop().run_in_executor(self.reading, look)

    def status(self) -> Status:
        return Status(
            version=__version__,
            warm=self.steps.warm,
            step_limit_s=self.limits.step_s,
            run_limit_s=self.limits.run_s,
            runs_at_once=self.limits.runs[0],
            runs_in_flight=self.runs.in_flight,
            most_body_bytes=MOST_BODY_BYTES,
        )


def _unseen(share: float, what: str) -> None:
    """A step is over before its progress could be shown."""


def build(catalog: Path | None = None, limits: Limits | None = None) -> FastAPI:
    """The application. `app.state.service` holds its processes; the outermost layer is the guard."""
    from .pages import add_pages
    from .routes import add_routes

    service = Service(catalog, limits or Limits())

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        service.start()
        yield
        service.stop()

    app = FastAPI(
        title="Gambrel",
        version=__version__,
        description="What `gambrel ui` shows, as JSON. On loopback only.",
        openapi_url="/api/v1/openapi.json",
        docs_url=None,
        redoc_url=None,
        lifespan=lifespan,
        responses={code: {"model": Failed} for code in (403, 422, 503)},
    )
    app.state.service = service
    add_routes(app, service)
    add_pages(app)
    _add_errors(app)
    app.add_middleware(Guard)
    app.openapi = lambda: _openapi(app)  # type: ignore[method-assign]
    return app


def failed(kind: str, message: str, field: str | None = None) -> JSONResponse:
    """Every answer that is none has this shape."""
    return JSONResponse({"error": {"kind": kind, "message": message, "field": field}}, CODES[kind])


def _add_errors(app: FastAPI) -> None:
    @app.exception_handler(Failure)
    async def on_failure(request: Request, error: Failure) -> Response:
        return failed(**error.problem)

    @app.exception_handler(GambrelError)
    async def on_error(request: Request, error: GambrelError) -> Response:
        return failed("input", str(error))

    @app.exception_handler(RequestValidationError)
    async def on_invalid(request: Request, error: RequestValidationError) -> Response:
        first = error.errors()[0]
        place = ".".join(str(step) for step in first["loc"] if step not in ("body", "query", "path"))
        return failed("input", f"{place or 'body'}: {first['msg']}. See /api/v1/openapi.json.", place or None)

    @app.exception_handler(HTTPException)
    async def on_http(request: Request, error: HTTPException) -> Response:
        kind: Literal["input", "refused"] = "input" if error.status_code < 403 else "refused"
        answer = failed(kind, f"{error.detail}: {request.url.path[:200]}")
        answer.status_code = error.status_code
        return answer


@cache
def _scenario_schema() -> dict[str, Any]:
    from ...catalog.scenarios import Scenario

    return Scenario.model_json_schema(ref_template="#/components/schemas/{model}")


def _openapi(app: FastAPI) -> dict[str, Any]:
    """The API's schema, with the catalogue's own schema of a scenario in it."""
    from fastapi.openapi.utils import get_openapi

    if app.openapi_schema is None:
        document = get_openapi(title=app.title, version=app.version, description=app.description, routes=app.routes)
        scenario = json.loads(json.dumps(_scenario_schema()))
        schemas = document["components"]["schemas"]
        schemas.update(scenario.pop("$defs"))
        schemas["Scenario"] = scenario
        for name in ("Question", "RunRequest"):
            schemas[name]["properties"]["scenario"] = {"$ref": "#/components/schemas/Scenario"}
        app.openapi_schema = document
    return app.openapi_schema
