"""The snapshot document as typed values.

The field names are the JSON's, held stable within a major `schema_version`. Every text that a person reads is a `Text`
in English and Chinese. Times are RFC 3339 strings in UTC ending in `Z`, to the microsecond at most; only `ticket.created_at`
keeps its own offset, since that is the clock of the ticket's words. Equal inputs give equal bytes (`canonical_bytes`): no
run time, host or duration is in here; those live in `RunRecord`, beside the document.
"""

from __future__ import annotations

import hashlib
from typing import Any, Literal, dataclass_transform

import msgspec

SCHEMA_VERSION = "1.0"

Status = Literal["ok", "empty", "partial", "failed", "skipped"]
Outcome = Literal["found", "healthy", "not_evaluated"]


@dataclass_transform(frozen_default=True, kw_only_default=True, field_specifiers=(msgspec.field,))
class Model(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Base of every part of the document: immutable, keyword-only, strict when read back."""


class Text(Model):
    """The same statement in English and Chinese."""

    en: str
    zh: str


class Window(Model):
    """A half-open time window in UTC."""

    start: str
    end: str


class Evidence(Model):
    """A pointer to one record, with which it can be opened again and checked.

    Either `doc_id` (with `index` where the source has indices) or `file` with `start` and `end` in bytes of the
    uncompressed file. `sha256` covers the record's canonical JSON, or those bytes. `quote` is redacted.
    """

    ref: str
    kind: Literal["log", "span", "order_event"]
    source: str
    sha256: str
    index: str | None = None
    doc_id: str | None = None
    file: str | None = None
    start: int | None = None
    end: int | None = None
    at: str | None = None
    service: str | None = None
    quote: str = ""


class TicketRecord(Model):
    """The ticket as it was when the snapshot was taken, redacted."""

    id: str
    system: str
    title: str
    description: str
    created_at: str
    language: str
    customer_id: str | None = None
    questionnaire: dict[str, Any] = {}


class Identifier(Model):
    """One identifier that ties records to the ticket, and where it was found."""

    kind: Literal[
        "order_id",
        "out_trade_no",
        "channel_txn_id",
        "trace_id",
        "customer_id",
        "phone",
        "phone_tail",
        "device",
        "refund_id",
    ]
    value: str
    found_in: str


class Hop(Model):
    """One step of the expansion, such as customer -> orders: what was known, what it led to, through which source."""

    via: str
    source: str
    start: str
    found: list[str] = []
    omitted: int = 0


class ScopeRecord(Model):
    """Whom and when the ticket is about, and why we think so."""

    window: Window
    baseline: Window
    anchor: str
    reason: Text
    identifiers: list[Identifier] = []
    hops: list[Hop] = []
    focus_orders: list[str] = []
    services: list[str] = []
    channels: list[str] = []


class PlanStep(Model):
    """One step of a fetch plan: which rows, how many match, how many of them are wanted, how many came.

    `kind` is `all` rows of the window; rows that are `named` by the ticket's identifiers; those of `healthy` orders; `failing`
    rows (warnings, errors, failed spans); a random `sample` of the rest; and `unexplained` rows, which no template of the
    sample accounts for; `traced` rows were asked for in the end, by the trace ids found in the others. Each step leaves out the rows of those before it. `matched` is null where it is known only once the
    step before has been read. `rate` is the share of the matching rows that was fetched.
    """

    kind: Literal["all", "named", "healthy", "failing", "sample", "unexplained", "traced"]
    matched: int | None
    wanted: int
    fetched: int = 0
    rate: float | None = None


class RowCount(Model):
    """Rows of one service, and how many of them tell of a failure."""

    name: str
    rows: int
    failing: int = 0


class MinuteCount(Model):
    """Rows of one stretch of time, from `start` on, and how many of them tell of a failure."""

    start: str
    rows: int
    failing: int = 0


class FetchPlan(Model):
    """What was known of the window before a row was fetched, and what was fetched of it.

    `rows` match in all and `limit` at most are fetched. `minutes` are stretches of `minute_seconds` each, those without rows
    left out. `services` are the largest ones; `services_omitted` rows belong to others or to none.
    """

    rows: int
    limit: int
    steps: list[PlanStep] = []
    services: list[RowCount] = []
    services_omitted: int = 0
    levels: dict[str, int] = {}
    minutes: list[MinuteCount] = []
    minute_seconds: float = 60.0


class Coverage(Model):
    """One row of the ledger: one question to one source, and what came of it.

    `matched` is null where the source cannot tell. `fetched` rows were read; `used` of them are in the tables after
    `duplicates`, `unparsed` (kept raw) and `outside` (of the asked window) are told apart. `cut` rows matched and were not
    fetched; with `sampled` true the fetched rows are a sample.
    """

    source: str
    kind: str
    what: Literal["logs", "spans", "order_events"]
    status: Status
    asked: str
    window: Window | None = None
    matched: int | None = None
    fetched: int = 0
    used: int = 0
    sampled: bool = False
    cut: int = 0
    duplicates: int = 0
    unparsed: int = 0
    outside: int = 0
    error: str | None = None
    notes: list[str] = []
    plan: FetchPlan | None = None


class Estimate(Model):
    """How many lines a template is likely to have in all, where only a sample was fetched; margins at 95 %."""

    incident: int
    incident_margin: int
    baseline: int
    baseline_margin: int


class Usual(Model):
    """How many lines a window like the incident's usually has of a template, by the catalogue.

    `template_id` is the catalogue's, null where it has never seen such a line. `seen` lines of that template are in the window
    (an estimate where only a sample was fetched), `lines` are usual, from `times` hours like these: of the week, or of the day
    where too few of the week were seen; of `never_seen`, from as many windows as the service's time makes.
    """

    template_id: str | None
    seen: float
    lines: float
    times: int
    by: Literal["hour_of_week", "hour_of_day", "never_seen"]


class Template(Model):
    """One log template (Drain cluster) with its counts in the incident window and in the baseline before it."""

    id: str
    text: str
    incident_count: int
    baseline_count: int
    change: Literal["new", "surged", "vanished", "usual"]
    # Lines in neither window: the three counts are all the template's lines.
    outside_count: int = 0
    p_value: float | None = None
    focus_count: int = 0
    levels: dict[str, int] = {}
    services: dict[str, int] = {}
    first_seen: str | None = None
    last_seen: str | None = None
    examples: list[Evidence] = []
    # The counts above are of the lines that were fetched; null where those are all.
    estimate: Estimate | None = None
    # What decided on `change` in the baseline's place; absent where no catalogue says it.
    usual: Usual | msgspec.UnsetType = msgspec.UNSET


class TemplateTotals(Model):
    """The sums that make the template counts checkable: `incident + baseline + outside == lines`.

    `approximate_lines` of them were clustered without their rare words, since there were too many different ones.
    """

    lines: int = 0
    incident: int = 0
    baseline: int = 0
    outside: int = 0
    templates: int = 0
    listed: int = 0
    unlisted_templates: int = 0
    unlisted_lines: int = 0
    approximate_lines: int = 0


class OrderState(Model):
    """One order of the focus: its history in normal states (see `pipeline/faults/order_states.csv`)."""

    order_id: str
    channel: str | None
    amount_minor: int | None
    currency: str | None
    state: str
    raw_state: str
    at: str | None
    focus: bool = True
    history: list[str] = []


class PaymentAttempt(Model):
    """One payment attempt, refund, callback or query of a focus order, in time order."""

    order_id: str
    entity: str
    entity_id: str
    state: str
    raw_state: str
    channel: str | None = None
    amount_minor: int | None = None
    currency: str | None = None
    code: str | None = None
    at: str | None = None


class SpanRecord(Model):
    """One span of the focus traces that failed or stood out."""

    trace_id: str
    span_id: str
    service: str | None
    name: str
    kind: str | None
    at: str | None
    duration_us: int | None
    status: str
    http_status: int | None = None
    error: str | None = None
    parent_id: str | None = None


class Finding(Model):
    """One statement with its evidence.

    `strength` is how sure the detector is of it, 0..1. `weight` is what that counts, in log-odds for `supports`; a negative
    weight is what it takes from the classes in `against`.
    """

    id: str
    kind: str
    statement: Text
    evidence: list[Evidence] = []
    weight: float = 0.0
    strength: float = 0.0
    supports: str | None = None
    subclass: str | None = None
    against: list[str] = []
    service: str | None = None
    channel: str | None = None
    code: str | None = None
    about_focus: bool = True


class Check(Model):
    """Something that was looked at: found wrong, found healthy, or not evaluated because its inputs are absent."""

    id: str
    outcome: Outcome
    statement: Text


class Candidate(Model):
    """One fault class with its probability, the findings that speak for it and those that speak against it."""

    fault_class: str
    fault_subclass: str | None
    probability: float
    findings: list[str] = []
    against: list[str] = []


class Missing(Model):
    """Evidence that is absent and would decide, and whom to ask for it.

    `kind` is `gap.<what>` for a gap in the evidence, else `unknown_code` or `answer`.
    """

    source: str
    question: Text
    kind: str = "answer"
    service: str | None = None
    window: Window | None = None


class Location(Model):
    """Where the fault sits, as far as the evidence tells."""

    service: str | None = None
    operation: str | None = None
    host: str | None = None
    channel: str | None = None


class Culprit(Model):
    """A service and the probability that the fault started there."""

    service: str
    probability: float


class Diagnosis(Model):
    """The located fault class, or an abstention that says what would decide."""

    abstained: bool
    confidence: float
    summary: Text
    fault_class: str | None = None
    fault_subclass: str | None = None
    seed_class: Literal["interface", "configuration", "other"] | None = None
    class_name: Text | None = None
    candidates: list[Candidate] = []
    missing: list[Missing] = []
    location: Location = Location()
    culprits: list[Culprit] = []
    owner: str | None = None
    first_action: Text | None = None


class SeverityScope(Model):
    """How many are touched. `customers` and `orders` are those that were counted, the ticket's own included."""

    size: Literal["one", "several", "batch"]
    customers: int = 1
    orders: int = 0


class Urgency(Model):
    """What it means for those who are touched. Money at risk makes its owner `blocked`."""

    availability: Literal["question", "impaired", "blocked"]
    money_at_risk: bool = False
    data_security: bool = False
    contract: Literal["standard", "key"] = "standard"


class SeverityReason(Model):
    """One reason for the level, and the findings that it rests on; none where it rests on the ticket's words."""

    statement: Text
    findings: list[str] = []


class Severity(Model):
    """How grave the ticket is by itself, and until when it asks for an answer and an end.

    `reasons` begin with the row of the decision table that decided. `ticket_level` is the level that the ticket had
    already, which `level` never goes below.
    """

    level: Literal["P1", "P2", "P3", "P4"]
    scope: SeverityScope
    urgency: Urgency
    reasons: list[SeverityReason]
    respond_by: str
    resolve_by: str
    ticket_level: Literal["P1", "P2", "P3", "P4"] | None = None


class Clause(Model):
    """One sentence for the customer, and the findings and evidence refs that it says nothing beyond."""

    statement: Text
    findings: list[str]
    evidence: list[str]


class CustomerMessage(Model):
    """What the customer may be told: its clauses, joined."""

    en: str
    zh: str
    clauses: list[Clause] = []


class Redaction(Model):
    """How many values of each kind were replaced before the document was made."""

    total: int = 0
    counts: dict[str, int] = {}


class Provenance(Model):
    """What made this document, so that it can be made again."""

    tool: str
    tool_version: str
    settings_sha256: str
    tables_sha256: str
    sources: list[str] = []


class Absent(Model):
    """A template of the catalogue that has no line in the window, and how many are usual."""

    text: str
    lines: float


class CatalogueRecord(Model):
    """The catalogue that templates were compared with: what it was learnt from, and what it says of all of them together.

    `digest` names its content. `templates` of the snapshot were measured by it, `never_seen` of them are not in it. It has
    nothing of `unknown_services`; their templates were compared with the time before. `absent` are the most usual of
    `absent_templates`, of which one line at least is usual in a window like this.
    """

    digest: str
    start: str | None
    end: str | None
    lines: int
    templates: int
    never_seen: int
    unknown_services: list[str] = []
    absent: list[Absent] = []
    absent_templates: int = 0


class SimilarTicket(Model):
    """A ticket closed before this one was created, why it is like this one, and how it was solved; redacted.

    `score` is 0..1; `words`, `meaning`, `said` (by the system) and `category` are the shares that make it, null where they
    could not be compared. `findings` are the ids of this document's findings whose like was found there, the most telling
    first. `fault_class` is what was located then.
    """

    id: str
    title: str
    closed_at: str
    score: float
    reasons: list[Text]
    category: str | None = None
    fault_class: str | None = None
    findings: list[str] = []
    handler: str | None = None
    cause: str | None = None
    solution: str | None = None
    reopened: bool = False
    words: float = 0.0
    meaning: float | None = None
    said: float | None = None
    category_share: float | None = None


class RoutedHandler(Model):
    """Somebody who could take the ticket: the probability that he solves it, his open tickets, and the reasons.

    `tickets` are the newest of the closed tickets that the first reason counts.
    """

    handler: str
    score: float
    skill: float
    open: int
    reasons: list[Text]
    tickets: list[str] = []


class RoutedQueue(Model):
    """A queue and the probability that the ticket belongs to it."""

    queue: str
    probability: float


class Routing(Model):
    """Who should take the ticket. Where nobody is sure enough it goes to `lead`, and `reason` says why.

    `handlers` stays filled when abstaining. `line` is the preliminary problem - cause - solution. `tickets` closed before
    this one was created were counted.
    """

    abstained: bool
    reason: Text
    line: Text
    queue: str | None = None
    queues: list[RoutedQueue] = []
    handlers: list[RoutedHandler] = []
    lead: str | None = None
    tickets: int = 0


class KnowledgeEntry(Model):
    """An entry of the knowledge base that fits, why, and its solution.

    `score` is 0..1. `findings` are the ids of what speaks for it; `proven` says that its signature, which was tested on old
    snapshots, is in this one. `doubts` say where it is out of date. `sha256` covers the entry's file.
    """

    id: str
    title: Text
    score: float
    reasons: list[Text]
    sha256: str
    findings: list[str] = []
    proven: bool = False
    module: Text | None = None
    fault_class: str | None = None
    fault_subclass: str | None = None
    cause: Text | None = None
    steps: list[Text] = []
    mistakes: list[Text] = []
    video: str | None = None
    versions: list[str] = []
    owner: str | None = None
    review_by: str | None = None
    check_minutes: int = 0
    doubts: list[Text] = []


QuestionKind = Literal["text", "lines", "choice", "moment", "picture"]


class QuestionOption(Model):
    """One answer that may be chosen."""

    value: str
    label: Text


class Question(Model):
    """One question to the customer.

    `why` is told to the customer; `gaps` and `findings` say what of this document it comes from. `value` is what we believe
    the answer to be, where that is to be confirmed, and `doubt` why; a `moment` is answered in RFC 3339 with its offset.
    """

    id: str
    kind: QuestionKind
    ask: Text
    why: Text
    hint: Text | None = None
    options: list[QuestionOption] = []
    longest: int = 200
    shape: str = ""
    shape_hint: Text | None = None
    value: str | None = None
    doubt: Text | None = None
    gaps: list[Text] = []
    findings: list[str] = []


class Answered(Model):
    """A question that is not asked, since its answer is known: the answer, where it was found, and the records that hold it.

    `certain` is false where it is asked all the same, to be confirmed.
    """

    id: str
    value: str
    found: Text
    certain: bool = True
    evidence: list[Evidence] = []


class Questionnaire(Model):
    """What is asked of the customer, what was answered without asking, and how many questions were left out as too many."""

    questions: list[Question] = []
    known: list[Answered] = []
    omitted: int = 0


class EarlierTicket(Model):
    """An earlier ticket of the same customer, redacted. `closed_at` is null while it was open when this one was created."""

    id: str
    title: str
    created_at: str
    closed_at: str | None = None
    category: str | None = None
    fault_class: str | None = None
    product: str | None = None
    version: str | None = None
    reopened: bool = False


class Counted(Model):
    """How often something was named in the earlier tickets."""

    name: str
    tickets: int


class Hint(Model):
    """What follows from earlier tickets, and which."""

    statement: Text
    tickets: list[str]


class Portrait(Model):
    """What is known of the customer from tickets created before this one; nothing of any other customer.

    `tickets` counts them all, `listed` are the newest. `sources` says where they were looked for, and `missing` what could not
    be asked.
    """

    tickets: int = 0
    open: list[str] = []
    problems: list[Counted] = []
    products: list[Counted] = []
    versions: list[str] = []
    hints: list[Hint] = []
    listed: list[EarlierTicket] = []
    sources: list[str] = []
    missing: list[Text] = []


class SelfService(Model):
    """The answer to a P4 ticket, ready for the customer, line by line, out of one entry of knowledge.

    A language that the entry does not have is empty.
    `share` is the entry's share of the two entries that fit best. `sha256` covers the entry's file.
    """

    en: list[str]
    zh: list[str]
    entry: str
    title: Text
    share: float
    sha256: str


class ProblemSnapshot(Model):
    """The whole document.

    `severity`, `routing`, `similar_tickets`, `knowledge` and `customer_message` belong to the service desk around the
    snapshot; they are null or empty until the desk fills them.
    """

    schema_version: str
    snapshot_id: str
    ticket: TicketRecord
    scope: ScopeRecord
    diagnosis: Diagnosis
    findings: list[Finding]
    checks: list[Check]
    coverage: list[Coverage]
    template_totals: TemplateTotals
    templates: list[Template]
    orders: list[OrderState]
    payment_attempts: list[PaymentAttempt]
    spans: list[SpanRecord]
    redaction: Redaction
    provenance: Provenance
    severity: Severity | None = None
    routing: Routing | None = None
    similar_tickets: list[SimilarTicket] = []
    knowledge: list[KnowledgeEntry] = []
    customer_message: CustomerMessage | None = None
    # Absent where the settings name no catalogue.
    catalogue: CatalogueRecord | msgspec.UnsetType = msgspec.UNSET
    # Each absent where the settings do not ask for it, and the last where knowledge has no answer.
    questions: Questionnaire | msgspec.UnsetType = msgspec.UNSET
    portrait: Portrait | msgspec.UnsetType = msgspec.UNSET
    self_service: SelfService | msgspec.UnsetType = msgspec.UNSET


class RunRecord(Model):
    """What happened while the snapshot was taken: beside the document, outside its canonical bytes."""

    snapshot_id: str
    started_at: str
    seconds: float
    steps: dict[str, float] = {}
    sources: dict[str, float] = {}
    host: str = ""
    python: str = ""
    tool_version: str = ""


def canonical_json(value: Any) -> bytes:
    """`value` as UTF-8 JSON with sorted keys and no insignificant space: the bytes that a sha256 covers.

    >>> canonical_json({"b": 1, "a": "付款"}).decode()
    '{"a":"付款","b":1}'
    """
    return msgspec.json.encode(msgspec.to_builtins(value), order="deterministic")


def sha256_hex(data: bytes) -> str:
    """The lower-case hex sha256 of `data`."""
    return hashlib.sha256(data).hexdigest()


def canonical_bytes(snapshot: ProblemSnapshot) -> bytes:
    """The document's bytes: fields in the model's order, mappings sorted, two-space indent, one newline at the end."""
    return msgspec.json.format(msgspec.json.encode(snapshot, order="deterministic"), indent=2) + b"\n"


def with_id(snapshot: ProblemSnapshot) -> ProblemSnapshot:
    """`snapshot` under the id that its content gives: equal content, equal id."""
    blank = msgspec.structs.replace(snapshot, snapshot_id="")
    return msgspec.structs.replace(blank, snapshot_id="ps-" + sha256_hex(canonical_bytes(blank))[:20])


def read_snapshot(data: bytes) -> ProblemSnapshot:
    """The document that `data` holds. Raises `msgspec.ValidationError` where it does not fit the schema."""
    return msgspec.json.decode(data, type=ProblemSnapshot)
