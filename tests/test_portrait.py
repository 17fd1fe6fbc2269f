"""The portrait of a customer: all of his earlier tickets, what follows from them, and not a word of anybody else."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import msgspec
import pytest
from click.testing import CliRunner
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from cli import commands
from pipeline.desk.intake_options import PortraitOptions
from pipeline.desk.options import DeskOptions
from pipeline.desk.portrait import portrait_of
from pipeline.desk.portrait_rules import Earlier, Now, read_rules
from pipeline.desk.section import make_index
from pipeline.errors import UsageError
from pipeline.settings import Settings, load_settings
from snapshots.model import Portrait, ProblemSnapshot, canonical_bytes, with_id
from snapshots.render.blocks import text_of
from snapshots.render.note import note_blocks
from snapshots.store import Store
from tests.snapshots_samples import SAMPLES

NOW = datetime.fromisoformat("2026-11-23T10:00:00+08:00")


def snapshot(
    ticket_id: str, customer: str | None, created: datetime, system: str = "zammad", **ticket: Any
) -> ProblemSnapshot:
    base = SAMPLES["wechat_signature"]
    own = msgspec.structs.replace(
        base.ticket, id=ticket_id, customer_id=customer, created_at=created.isoformat(), system=system, **ticket
    )
    return with_id(msgspec.structs.replace(base, ticket=own))


@dataclass
class Desk:
    folder: Path
    rows: list[dict[str, Any]]

    @property
    def store(self) -> str:
        return str(self.folder / "store")

    def options(self, **given: Any) -> DeskOptions:
        history = self.folder / "history.jsonl"
        history.write_text("".join(json.dumps(row) + "\n" for row in self.rows), encoding="utf-8")
        options = DeskOptions(
            history=str(history), index=str(self.folder / "index"), meaning="off", portrait=PortraitOptions(**given)
        )
        make_index(Settings(desk=options), {}, lambda _: None)
        return options

    def put(self, *found: ProblemSnapshot) -> None:
        store = Store(self.store)
        for one in found:
            store.put(one)

    def of(self, customer: str | None = "c-1", *, system: str = "zammad", **given: Any) -> Portrait:
        options = self.options(**given) if self.rows else DeskOptions(portrait=PortraitOptions(**given))
        return portrait_of(snapshot("T-now", customer, NOW, system), options, self.store, customer)


@pytest.fixture
def desk(tmp_path) -> Iterator[Desk]:
    return Desk(tmp_path, [])


def row(number: str, customer: str, days: float = 10, **given: Any) -> dict[str, Any]:
    created = NOW - timedelta(days=days)
    closed = created + timedelta(hours=5)
    return {
        "id": number,
        "title": f"title of {number}",
        "customer": customer,
        "created_at": created.isoformat(),
        "closed_at": closed.isoformat(),
    } | given


def test_earlier_tickets_come_from_the_history_and_from_the_store(desk):
    desk.rows = [
        row("H-1", "c-1", category="billing", product="app", version="4.1"),
        row("H-2", "c-1", days=3, closed_at="", category="late"),
    ]
    desk.put(snapshot("S-1", "c-1", NOW - timedelta(days=5), questionnaire={"app_version": "4.2"}))
    found = desk.of()
    assert (found.tickets, found.sources, found.missing) == (3, ["history", "store"], [])
    assert [one.id for one in found.listed] == ["H-2", "S-1", "H-1"]
    assert found.open == ["H-2"]
    assert {one.name for one in found.problems} == {"billing", "signature_cert"}
    assert found.versions == ["4.2", "4.1"]


def test_only_what_was_known_when_the_ticket_was_created_is_told(desk):
    """A later ticket, this one, and what was written later of an earlier one."""
    later = (NOW + timedelta(days=2)).isoformat()
    desk.rows = [
        row("H-1", "c-1", days=1, closed_at=later, category="secret later", solution="incompatible", reopened=True),
        row("H-3", "c-1", days=-1),
        row("T-now", "c-1", days=2),
    ]
    desk.put(snapshot("S-2", "c-1", NOW + timedelta(minutes=1)), snapshot("T-now", "c-1", NOW))
    found = desk.of()
    assert [one.id for one in found.listed] == ["H-1"]
    assert (found.listed[0].closed_at, found.listed[0].category, found.listed[0].reopened) == (None, None, False)
    assert found.open == ["H-1"]
    assert b"later" not in msgspec.json.encode(found)
    assert not any("compatib" in hint.statement.en for hint in found.hints)


names = st.sampled_from(["c-1", "c-2", "c-1 ", "C-1", "c-11", ""])


@settings(max_examples=25, deadline=None, suppress_health_check=list(HealthCheck))
@given(
    customers=st.lists(names, min_size=1, max_size=8),
    kept=st.lists(st.tuples(names, st.sampled_from(["zammad", "rt"])), max_size=4),
)
def test_no_word_of_another_customer_ever_stands_in_it(tmp_path_factory, customers, kept):
    """However alike their ids are, and wherever their tickets lie."""
    desk = Desk(tmp_path_factory.mktemp("p"), [])
    desk.rows = [
        row(f"H-{n}", name, n + 1, title=f"words of {name or 'nobody'}|", version=f"v{n}|{name}", category=f"k|{name}|")
        for n, name in enumerate(customers)
    ]
    desk.put(
        *(
            snapshot(f"S-{n}", name or None, NOW - timedelta(days=n + 1), system, title=f"stored {name}|{system}|")
            for n, (name, system) in enumerate(kept)
        )
    )
    found = desk.of("c-1")
    own = {f"H-{n}" for n, name in enumerate(customers) if name == "c-1"}
    own |= {f"S-{n}" for n, (name, system) in enumerate(kept) if (name, system) == ("c-1", "zammad")}
    assert {one.id for one in found.listed} == own
    assert found.tickets == len(own)
    told = msgspec.json.encode(found).decode()
    for other in ("c-2|", "c-1 |", "C-1|", "c-11|", "nobody|", "|rt|"):
        assert other not in told
    for one in (*found.open, *(ticket for hint in found.hints for ticket in hint.tickets)):
        assert one in own


def test_an_id_that_may_be_two_customers_is_nobodys(desk, tmp_path):
    """Masked ids are alike for many, and two systems of one kind count their customers each by itself."""
    masked = "[phone:…4057]"
    desk.put(snapshot("S-1", masked, NOW - timedelta(days=1)))
    assert not (tmp_path / "store" / "customers").exists()
    found = portrait_of(
        snapshot("T-now", masked, NOW), DeskOptions(portrait=PortraitOptions()), desk.store, "13222344057"
    )
    assert found.tickets == 0
    assert "masked" in found.missing[0].en
    desk.put(snapshot("S-2", "c-1", NOW - timedelta(days=1)))
    assert desk.of().tickets == 1
    assert desk.of(shared=("zammad",)).tickets == 0
    assert desk.of(None).missing[0].en == "the ticket names no customer"
    config = tmp_path / "problem-snapshot.toml"
    tables = "".join(
        f'[defaults.tickets.{name}]\nkind = "zammad"\nurl = "https://{name}.example"\n' for name in ("eu", "us")
    )
    config.write_text(f"[defaults.desk.portrait]\n{tables}", encoding="utf-8")
    read = load_settings(config, env={}, sources=False)
    assert read.desk.portrait.shared == ("zammad",)
    config.write_text("[defaults.desk.portrait]\nshared = ['rt']\n", encoding="utf-8")
    with pytest.raises(UsageError, match="shared"):
        load_settings(config, env={}, sources=False)


def test_each_ticket_counts_once_however_many_there_are_and_wherever_they_are_known(desk, monkeypatch):
    """Also those past the most that are looked at, and a ticket that is taken again when later ones are there."""
    monkeypatch.setattr("pipeline.desk.portrait.MOST", 3)
    desk.put(*(snapshot(f"T-{number}", "c-1", NOW - timedelta(days=number)) for number in range(1, 7)))
    desk.put(*(snapshot(f"L-{number}", "c-1", NOW + timedelta(days=number)) for number in range(1, 7)))
    desk.put(snapshot("T-now", "c-1", NOW))
    told = desk.of()
    assert (told.tickets, [one.id for one in told.listed]) == (6, ["T-1", "T-2", "T-3"])
    assert "3 tickets of the store were not looked at" in told.missing[0].en
    desk.rows += [
        {"id": f"T-{number}", "created_at": (NOW - timedelta(days=number)).isoformat(), "customer": "c-1", "title": "t"}
        for number in range(1, 9)
    ]
    told = desk.of()
    assert (told.tickets, len(told.open)) == (8, 8)


def test_a_history_that_cannot_be_asked_is_told(desk):
    desk.rows = [row("H-1", "c-1")]
    options = desk.options()
    for path in (desk.folder / "index").iterdir():
        path.unlink()
    found = portrait_of(snapshot("T-now", "c-1", NOW), options, desk.store, "c-1")
    assert "desk index" in found.missing[0].en
    assert found.sources == ["store"]


def test_an_index_holds_a_hash_in_the_customers_place(desk):
    desk.rows = [row("H-1", "jo@example.com")]
    desk.options()
    assert b"jo@example.com" not in (desk.folder / "index" / "tickets.arrow").read_bytes()
    assert desk.of("jo@example.com").tickets == 1


# ---- rules


def earlier(number: int = 1, days: float = 5, **given: Any) -> Earlier:
    return Earlier(**({"id": f"T-{number}", "created_at": NOW - timedelta(days=days), "text": ""} | given))


@pytest.mark.parametrize(
    ("given", "rule"),
    [
        ([earlier(text="升级之后接口不兼容")], "compatib"),
        ([earlier(text="The new client is incompatible")], "compatib"),
        ([earlier(faults=frozenset({"interface_fault/protocol_contract"}))], "compatib"),
        ([earlier(reopened=True)], "did not hold"),
        ([earlier(reopened=True, days=181)], None),
        ([earlier(open=True)], "is open"),
        ([earlier(faults=frozenset({"param_config"}))], "same kind of fault"),
        ([earlier(faults=frozenset({"rate_limit"}))], None),
        ([earlier(product="alipay", version="4.1")], "version changed"),
        ([earlier(product="alipay", version="4.2")], None),
        ([earlier(product="stripe", version="4.1")], None),
        ([earlier(faults=frozenset({"order_state/duplicate_charge"}))], "Money was at stake"),
        ([earlier(n) for n in range(3)], "3 tickets within 30 days"),
        ([earlier(n) for n in range(2)], None),
        ([earlier(1), earlier(2), earlier(3, days=31)], None),
    ],
)
def test_each_rule_says_when_it_holds_and_names_its_tickets(given, rule):
    now = Now(NOW, frozenset({"param_config"}), frozenset({"alipay"}), "4.2")
    hints = read_rules(None).hints(given, now)
    if rule is None:
        assert hints == []
        return
    (hint,) = hints
    assert rule in hint.statement.en
    assert "{" not in hint.statement.en + hint.statement.zh
    assert any("\u4e00" <= letter <= "\u9fff" for letter in hint.statement.zh)
    assert hint.tickets == [one.id for one in given]


@pytest.mark.parametrize("text", ["rules = 1", "[[rules]]\nid='a'\nsay={en='a',zh='b'}", "x ="])
def test_a_file_of_rules_that_is_wrong_says_where(tmp_path, text):
    path = tmp_path / "rules.toml"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(UsageError, match=r"rules\.toml"):
        read_rules(str(path))


# ---- where it is told


def test_the_note_the_page_and_the_command_tell_it(desk, tmp_path):
    desk.put(snapshot("S-1", "c-1", NOW - timedelta(days=5)), snapshot("S-9", "c-9", NOW - timedelta(days=5)))
    found = with_id(msgspec.structs.replace(snapshot("T-now", "c-1", NOW), portrait=desk.of()))
    part = note_blocks(found, "en").part("desk")
    said = "\n".join(text_of(line) for block in part.blocks for item in getattr(block, "items", ()) for line in item)
    assert "1 earlier, 0 open" in said
    assert "same kind of fault" in said
    assert "(S-1)" in said
    assert b"S-9" not in canonical_bytes(found)
    desk.put(found)
    for language, words in (("en", "1 earlier ticket, 0 open"), ("zh", "1 个更早的工单")):
        told = CliRunner().invoke(commands, ["desk", "portrait", "T-now", "-l", language, "--store", desk.store])
        assert told.exit_code == 0, told.output
        assert words in told.output
        assert "S-1" in told.output
    bare = CliRunner().invoke(commands, ["desk", "portrait", "S-1", "--store", desk.store], env={"HOME": str(tmp_path)})
    assert bare.exit_code == 2
