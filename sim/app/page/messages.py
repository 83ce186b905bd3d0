"""What the API takes and gives. OpenAPI is made of these records and of those of the catalogue."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field

MOST_CHANGES = 32
MOST_MODEL_BYTES = 65_536

ChangeText = Annotated[str, Field(min_length=3, max_length=200)]


class Message(BaseModel):
    """A value that crosses the API; unknown keys are refused."""

    model_config = ConfigDict(extra="forbid", protected_namespaces=())


class Question(Message):
    """A scenario, what of it is changed on the other side, and a model that the catalogue does not hold."""

    scenario: dict[str, Any] = Field(description="as a scenario file; `gambrel schema scenario`")
    changes: list[ChangeText] = Field(
        default_factory=list,
        max_length=MOST_CHANGES,
        description="the other side, as `gambrel whatif --set`: chip.memory.bandwidth*=2",
    )
    model_yaml: str | None = Field(
        None, max_length=MOST_MODEL_BYTES, description="text of a model file; the scenario names it by its id"
    )


class RunRequest(Question):
    """A question whose answer is simulated."""

    kind: Literal["compare", "tornado", "inside"] = Field(
        "compare",
        description="both sides; every hardware value moved by a tenth and ranked; or kernels, stages and timeline",
    )


class FigureShown(Message):
    """A figure with its interval and basis, as numbers and as people read them."""

    value: float | None
    unit: str
    low: float | None
    high: float | None
    basis: str
    note: str = ""
    text: str
    interval: str


class EffectShown(Message):
    """One figure on both sides. ratio: changed over baseline."""

    figure: str
    label: str
    key: bool = Field(description="one of those that the first screen shows")
    baseline: FigureShown | None
    changed: FigureShown | None
    ratio: float | None
    delta: str


class PanelShown(Message):
    """A chart as a Plotly figure, and what it shows in words."""

    title: str
    chart: dict[str, Any]


class SectionShown(Message):
    """A part of an answer: charts with a heading."""

    id: str
    title: str
    lede: str
    panels: list[PanelShown]
    notes: list[str]


class Side(Message):
    """One side of a comparison: the result as `--json` prints it, and its charts."""

    result: dict[str, Any]
    sections: list[SectionShown]


class Inside(Message):
    """Kernels under the chip's roofs, memory of every stage, timeline; of both sides."""

    schema_: Literal["gambrel.page-inside/1"] = Field("gambrel.page-inside/1", alias="schema")
    baseline: list[SectionShown]
    changed: list[SectionShown] | None
    seconds: float


class Problem(Message):
    """Why there is no answer: one line with place, value and remedy."""

    kind: Literal["input", "infeasible", "unknown", "limit", "refused", "cancelled", "bug"]
    message: str
    field: str | None = Field(None, description="the field of the form that it is about, if one is named")


class Failed(Message):
    """Every answer that is none."""

    error: Problem


class Comparison(Message):
    """Baseline and what-if, figure by figure."""

    schema_: Literal["gambrel.page-compare/1"] = Field("gambrel.page-compare/1", alias="schema")
    verb: Literal["train", "serve"]
    baseline: Side
    changed: Side | None
    problem: Problem | None = Field(description="why the changed side has no answer")
    effects: list[EffectShown]
    chart: dict[str, Any] | None = Field(description="how the figures moved")
    moves_nothing: list[str]
    command: str
    yaml: str
    seconds: float


class SwingShown(Message):
    """What one hardware value does to the figure, lowered and raised by a tenth; null: it does not fit."""

    key: str
    lowered: float | None
    raised: float | None
    elasticity: float | None


class Tornado(Message):
    """Hardware values ranked by what they move."""

    schema_: Literal["gambrel.page-tornado/1"] = Field("gambrel.page-tornado/1", alias="schema")
    figure: str
    label: str
    by: float
    swings: list[SwingShown]
    still: list[str]
    chart: dict[str, Any] | None
    seconds: float


class RunState(Message):
    """A simulation: queued, running, done, failed or cancelled."""

    id: str
    state: Literal["queued", "running", "done", "failed", "cancelled"]
    share: float
    what: str
    error: Problem | None = None
    answer: dict[str, Any] | None = Field(None, description="a Comparison, Tornado or Inside, once it is done")


class Status(Message):
    """What answers, whether its compiled code is loaded, and the limits of a question."""

    version: str
    warm: bool
    step_limit_s: float
    run_limit_s: float
    runs_at_once: int
    runs_in_flight: int
    most_body_bytes: int


class FormField(Message):
    """One input, out of the JSON Schema of the record that it fills."""

    name: str = Field(description="the flag of the command line without dashes; key of the page's address")
    path: list[str | int]
    label: str
    panel: str
    help: str
    kind: Literal["integer", "number", "switch", "choice", "text", "list"]
    unit: str
    minimum: float | None
    maximum: float | None
    above: float | None = Field(description="must be larger than this")
    default: Any
    required: bool
    choices: list[str]
    suggestions: Literal["model", "cluster", "stack", "traffic"] | None


class Form(Message):
    """The inputs of a verb in the order in which help lists them."""

    verb: Literal["train", "serve"]
    fields: list[FormField]


class HardwareValue(Message):
    """A hardware value by the key path that `whatif --set` takes."""

    key: str
    label: str
    value: float
    unit: str
    text: str
    usual: bool = Field(description="shown as a slider without being asked for")


class Hardware(Message):
    """The values of a cluster and its chip."""

    cluster: str
    chip: str
    stack: str
    values: list[HardwareValue]


class Entry(Message):
    """One entry of the catalogue in a list: cells as people read them."""

    id: str
    origin: str
    cells: dict[str, str]
    sort: dict[str, float | None]


class Listing(Message):
    """A kind of catalogue entry. columns: key to heading."""

    kind: str
    columns: dict[str, str]
    numeric: list[str]
    entries: list[Entry]


class Leaf(Message):
    """One value of an entry: its dotted key, as people read it."""

    key: str
    text: str


class Card(Message):
    """One entry: every value with its unit, its sources, and its file's text."""

    kind: str
    id: str
    name: str
    origin: str
    values: list[Leaf]
    sources: list[Leaf]
    yaml: str
    record: dict[str, Any]


class ErrorLine(Message):
    """Errors of one shipped table: rows, the median, and what nine in ten keep."""

    table: str
    metric: str
    group: str
    n: int
    median: float
    p90: float


class Accuracy(Message):
    """Errors of predictions against the measurements that ship with this version."""

    lines: list[ErrorLine]
    chart: dict[str, Any] | None
