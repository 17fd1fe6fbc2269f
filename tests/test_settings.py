"""The settings and the file that they come from."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.config import parse_seconds
from pipeline.errors import UsageError
from pipeline.publish.options import PublishOptions
from pipeline.secrets import is_secret, plain_secrets
from pipeline.settings import Settings, Windows, find_config, load_settings, read_config
from pipeline.settings_digest import settings_digest

Write = Callable[..., Path]

LOGS = """
[profiles.prod.sources.logs]
kind = "elasticsearch"
url = "https://es.example:9200"
logs = ["app-*"]
"""


@pytest.fixture
def write(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Write:
    """Writes ./problem-snapshot.toml in an empty working folder and gives its path."""
    monkeypatch.chdir(tmp_path)

    def to(text: str, name: str = "problem-snapshot.toml") -> Path:
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
        return path

    return to


def said(profile: str | None = None, **env: str) -> str:
    """The sentence with which the settings are refused."""
    with pytest.raises(UsageError) as refused:
        load_settings(None, profile, env)
    return str(refused.value)


# ---- where the file is


def nowhere(tmp_path: Path) -> dict[str, str]:
    """An environment in which no configuration is found outside the working folder."""
    return {"XDG_CONFIG_HOME": str(tmp_path / "home"), "XDG_CONFIG_DIRS": str(tmp_path / "etc")}


def test_without_a_file_the_built_in_values_hold(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No configuration is needed to read a bundle."""
    monkeypatch.chdir(tmp_path)
    settings = load_settings(None, None, nowhere(tmp_path))
    assert settings.sources == {}
    assert (settings.budget, settings.language, settings.zone) == (10.0, "auto", None)


def test_the_file_is_looked_for_in_the_promised_order(write: Write, tmp_path: Path) -> None:
    """--config, the variable, the working folder, the user's folder, the system's folders: the first one wins."""
    env = nowhere(tmp_path)
    env["XDG_CONFIG_DIRS"] = f"relative:{tmp_path / 'etc'}:{tmp_path / 'etc2'}"
    assert find_config(None, env) is None
    system = write("", "etc2/problem-snapshot/problem-snapshot.toml")
    assert find_config(None, env) == system
    user = write("", "home/problem-snapshot/problem-snapshot.toml")
    assert find_config(None, env) == user
    write("")
    assert find_config(None, env) == Path("problem-snapshot.toml")
    named = write("", "named.toml")
    env["PROBLEM_SNAPSHOT_CONFIG"] = str(named)
    assert find_config(None, env) == named
    other = write("", "other.toml")
    assert find_config(other, env) == other


@pytest.mark.parametrize("by", ["option", "variable"])
def test_a_named_file_that_is_not_there_is_an_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, by: str) -> None:
    """A slip in the name must not silently mean the built-in values."""
    monkeypatch.chdir(tmp_path)
    env = {"PROBLEM_SNAPSHOT_CONFIG": "gone.toml"} if by == "variable" else {}
    with pytest.raises(UsageError, match=r"gone\.toml: no such file"):
        load_settings(Path("gone.toml") if by == "option" else None, None, env)


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        (b"budget = ", "is not TOML"),
        (b"[defaults]\nbudget = '\xff'", "is not UTF-8"),
        (b"\x00\x01\x02", "is not TOML"),
    ],
)
def test_a_file_that_cannot_be_read_is_named(write: Write, content: bytes, sentence: str) -> None:
    """The message names the file and what is wrong with it."""
    write("").write_bytes(content)
    assert said().startswith("problem-snapshot.toml: ")
    assert sentence in said()


def test_a_byte_order_mark_does_no_harm(write: Write) -> None:
    """Editors on Windows put one there."""
    write("\ufeff[defaults]\nbudget = 3")
    assert load_settings(None, None, {}).budget == 3.0


# ---- profiles


def test_a_profile_lies_over_the_defaults(write: Write) -> None:
    """What the profile does not say stays as the defaults have it, table by table."""
    write("""
        profile = "prod"
        [defaults]
        budget = "5s"
        windows.before = "1h"
        windows.after = "10m"
        [defaults.sources.logs]
        kind = "elasticsearch"
        url = "http://localhost:9200"
        logs = ["app-*"]
        [profiles.prod]
        windows.after = "20m"
        sources.logs.url = "https://es.example:9200"
        [profiles.laptop]
        sources.logs = false
    """)
    prod = load_settings(None, None, {})
    assert (prod.profile, prod.budget, prod.windows.before, prod.windows.after) == ("prod", 5.0, 3600.0, 1200.0)
    assert prod.sources["logs"].url == "https://es.example:9200"
    assert load_settings(None, "defaults", {}).sources["logs"].url == "http://localhost:9200"
    assert load_settings(None, "laptop", {}).sources == {}
    assert load_settings(None, None, {"PROBLEM_SNAPSHOT_PROFILE": "laptop"}).profile == "laptop"


def test_an_unknown_profile_is_told_with_the_nearest(write: Write, tmp_path: Path) -> None:
    """A slip is answered with what was probably meant."""
    assert "there is no configuration file" in said("prod", **nowhere(tmp_path))
    write(LOGS)
    assert said("prd") == "problem-snapshot.toml: there is no profile 'prd'; did you mean prod?"


def test_secrets_of_other_profiles_are_not_needed(write: Write) -> None:
    """Only the chosen profile's variables have to be set."""
    write(LOGS + 'api_key = "${ES_KEY}"\n[profiles.dev]\nbudget = 2')
    assert load_settings(None, "dev", {}).budget == 2.0


# ---- wrong values


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        (LOGS + 'page_size = "many"', "profiles.prod.sources.logs.page_size: expected int, got str"),
        (LOGS + "page_sise = 5", "profiles.prod.sources.logs.page_sise: unknown key; did you mean page_size?"),
        (LOGS + "overrides = {message = 3}", "profiles.prod.sources.logs.overrides: expected array, got int"),
        ("[defaults]\nbudjet = 3", "defaults.budjet: unknown key; did you mean budget?"),
        ("budget = 3", "budget: unknown key; write it below [defaults]: defaults.budget"),
        ("[default]", "default: unknown key; did you mean defaults?"),
        ("[defaults]\nbudget = '10 bananas'", "defaults.budget: '10 bananas' is not a duration; write 10s, 5m, 1h30m"),
        ("[defaults]\nbudget = 0", "defaults.budget: expected float > 0.0"),
        ("[defaults]\nbudget = nan", "defaults.budget: expected float"),
        ("[defaults]\nbudget = inf", "defaults.budget: expected float"),
        ("[defaults]\nlanguage = 'fr'", "defaults.language: 'fr' is not one of auto, en, zh"),
        (
            "[defaults]\ntimezone = 'Shanghai'",
            "defaults.timezone: there is no time zone 'Shanghai'; did you mean Asia/Shanghai?",
        ),
        ("[defaults]\ntimezone = 'Asia'", "defaults.timezone: there is no time zone 'Asia'"),
        ("[defaults]\ntimezone = '../../etc/passwd'", "defaults.timezone: there is no time zone"),
        ("[defaults]\nidentifiers.order_id = ['(']", "defaults.identifiers.order_id: '(' is not an RE2 expression"),
        ("[defaults]\nidentifiers.oder_id = []", "defaults.identifiers.oder_id: unknown key; did you mean order_id?"),
        ("[defaults]\nthresholds.T_snc = 3", "defaults.thresholds.T_snc: unknown key; did you mean T_sync?"),
        ("[defaults]\nthresholds.T_sync = -3", "defaults.thresholds: T_sync is -3"),
        ("[defaults]\nsources.logs = 3", "defaults.sources.logs: expected object, got int"),
        ("[defaults]\nsources.logs = {url = 'x'}", "defaults.sources.logs: missing key kind; one of "),
        (
            "[defaults]\nsources.logs = {kind = 'elastic'}",
            "defaults.sources.logs.kind: there is no kind 'elastic'; did you mean elasticsearch?",
        ),
        ("[defaults]\nsources.logs = {kind = 'elasticsearch'}", "defaults.sources.logs: missing key url"),
        ("[defaults]\nsources = 3", "defaults.sources: expected a table, got int"),
        ("[defaults]\nprofile = 'x'", "defaults.profile: unknown key"),
        ("profile = 3", "profile: expected str, got int"),
        ("defaults = 3", "defaults: expected a table, got int"),
        ("profiles.prod = 3", "profiles.prod: expected a table, got int"),
    ],
)
def test_a_wrong_value_is_told_with_file_key_and_remedy(write: Write, text: str, sentence: str) -> None:
    """Each slip gives one sentence that says where it stands."""
    write(text)
    assert said("prod" if "[profiles.prod" in text else None).startswith(f"problem-snapshot.toml: {sentence}")


# ---- where snapshots are published


def test_the_place_to_publish_is_read_only_where_it_is_wanted(write: Write) -> None:
    """Its secret need not be there otherwise, and a profile can take it away."""
    write("""
        [defaults.publish]
        url = "https://es.example:9200"
        api_key = "${PUBLISH_KEY}"
        timeout = "3s"
        [profiles.none]
        publish = false
    """)
    assert load_settings(None, None, {}).publish is None
    target = load_settings(None, None, {"PUBLISH_KEY": "hunter2"}, publish=True).publish
    assert target is not None
    assert (target.url, target.api_key, target.index, target.timeout) == (
        "https://es.example:9200",
        "hunter2",
        "problem-snapshots",
        3.0,
    )
    assert load_settings(None, "none", {}, publish=True).publish is None
    with pytest.raises(
        UsageError, match=r"defaults\.publish\.api_key: the environment variable PUBLISH_KEY is not set"
    ):
        load_settings(None, None, {}, publish=True)


def test_a_source_lends_its_connection_for_publishing(write: Write) -> None:
    """Its address, login and certificates; of the other sources nothing has to be there."""
    write(
        LOGS
        + """api_key = "${KEY}"
        ca_certs = "ca.pem"
        [profiles.prod.sources.traces]
        kind = "jaeger"
        url = "${JAEGER}"
        [profiles.prod.publish]
        source = "logs"
        index = "tickets"
    """
    )
    target = load_settings(None, "prod", {"KEY": "k"}, sources=False, publish=True).publish
    assert target is not None
    assert (target.url, target.api_key, target.ca_certs) == ("https://es.example:9200", "k", "ca.pem")
    assert (target.source, target.index) == (None, "tickets")


@pytest.mark.parametrize(
    ("table", "sentence"),
    [
        ("source = 'log'", "profiles.prod.publish.source: there is no source 'log'; did you mean logs?"),
        (
            "source = 'jaeger'",
            "profiles.prod.publish.source: the source 'jaeger' is no Elasticsearch; name one that is",
        ),
        ("indx = 'a'", "profiles.prod.publish.indx: unknown key; did you mean index?"),
        ("index = 'logs-*'\nsource = 'logs'", "profiles.prod.publish: index 'logs-*' is no name of one index"),
        ("", "profiles.prod.publish: say where: url = "),
        ("source = 'logs'\nurl = 'http://a:1'", "profiles.prod.publish: give source"),
    ],
)
def test_a_wrong_place_to_publish_is_told_with_its_key(write: Write, table: str, sentence: str) -> None:
    """As of any other table."""
    jaeger = '[profiles.prod.sources.jaeger]\nkind = "jaeger"\nurl = "http://a:1"\n'
    write(f"{LOGS}{jaeger}[profiles.prod.publish]\n{table}")
    with pytest.raises(UsageError) as refused:
        load_settings(None, "prod", {}, publish=True)
    assert str(refused.value).startswith(f"problem-snapshot.toml: {sentence}")


# ---- durations


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("10s", 10),
        ("5m", 300),
        ("1h30m", 5400),
        ("10", 10),
        ("2d", 172800),
        ("250ms", 0.25),
        ("1.5h", 5400),
        ("1h 30m", 5400),
    ],
)
def test_durations_are_read_as_people_write_them(text: str, seconds: float) -> None:
    """Units may be joined."""
    assert parse_seconds(text) == seconds


@pytest.mark.parametrize(
    "text", ["", " ", "s", "10x", "-5s", "5m-", "1h30", "ten", "1e3", "٣s", "5 m x", "10s" * 3 + "!"]
)
def test_what_is_no_duration_is_refused(text: str) -> None:
    """Nothing is guessed."""
    with pytest.raises(ValueError, match="is not a duration"):
        parse_seconds(text)


@given(st.integers(0, 9), st.integers(0, 23), st.integers(0, 59), st.integers(0, 59))
def test_a_duration_is_the_sum_of_its_parts(days: int, hours: int, minutes: int, seconds: int) -> None:
    """Whatever the parts are."""
    assert parse_seconds(f"{days}d{hours}h{minutes}m{seconds}s") == days * 86400 + hours * 3600 + minutes * 60 + seconds


def test_a_duration_may_stand_wherever_seconds_are_meant(write: Write) -> None:
    """In the settings, the thresholds and the sources alike."""
    write(LOGS + 'timeout = "3s"\n[defaults]\nthresholds.T_pend = "45m"\nwindows.baseline = "2h"')
    settings = load_settings(None, "prod", {})
    assert (settings.sources["logs"].timeout, settings.thresholds.t_pend, settings.windows.baseline) == (
        3.0,
        2700.0,
        7200.0,
    )


# ---- what is filled in


def test_variables_and_files_are_filled_in(write: Write, tmp_path: Path) -> None:
    """Also inside a longer string, with a value for when it is not set, and as a number."""
    (tmp_path / "secret").write_text("from-file\n", encoding="utf-8")
    write("""
        [defaults.sources.logs]
        kind = "elasticsearch"
        url = "https://${HOST:-es.example}:9200"
        logs = ["${PREFIX}-*", "plain $${x}"]
        api_key = "${file:secret}"
        page_size = "${PAGE}"
        verify_certs = "${VERIFY}"
    """)
    logs = load_settings(None, None, {"PREFIX": "app", "PAGE": "77", "VERIFY": "false"}).sources["logs"]
    assert logs.url == "https://es.example:9200"
    assert logs.logs == ("app-*", "plain ${x}")
    assert (logs.api_key, logs.page_size, logs.verify_certs) == ("from-file", 77, False)
    assert type(logs.url) is str


@pytest.mark.parametrize(
    ("hole", "sentence"),
    [
        ("${ES_KEY}", "the environment variable ES_KEY is not set"),
        ("${file:gone}", "cannot be read"),
        ("${file:.}", "cannot be read"),
        ("${not a name}", "is neither ${VARIABLE} nor ${file:PATH}"),
        ("${}", "is neither ${VARIABLE} nor ${file:PATH}"),
    ],
)
def test_what_cannot_be_filled_in_is_told_with_its_key(write: Write, hole: str, sentence: str) -> None:
    """The message names the variable or file, the key and the configuration file."""
    write(LOGS + f'api_key = "{hole}"')
    text = said("prod")
    assert text.startswith("problem-snapshot.toml: profiles.prod.sources.logs.api_key: ")
    assert sentence in text


def test_a_password_may_hold_any_character(write: Write, tmp_path: Path) -> None:
    """In an address it is encoded; elsewhere it stays as it is."""
    (tmp_path / "pw").write_text("p@ss/w:rd?#%", encoding="utf-8")
    write("""
        [defaults.sources.orders]
        kind = "orders"
        url = "postgresql://${USER_NAME}:${file:pw}@${HOST}:5432/${DB}?x=${X}@"
    """)
    env = {"USER_NAME": "a b", "HOST": "[::1]", "DB": "shop/one", "X": "1/2"}
    url = load_settings(None, None, env).sources["orders"].url
    assert url == "postgresql://a%20b:p%40ss%2Fw%3Ard%3F%23%25@[::1]:5432/shop/one?x=1/2@"


def test_a_value_that_was_filled_in_is_never_repeated_in_a_message(write: Write) -> None:
    """It may be a secret that went to the wrong key."""
    for key in ("timeout", "mapping", "page_size", "verify_certs", "kind"):
        write(re.sub(rf"{key} = .*\n", "", LOGS) + f'{key} = "${{TOKEN}}"\n')
        assert "hunter2" not in said("prod", TOKEN="hunter2"), key


def test_secrets_in_plain_text_are_found_and_references_are_not(write: Write) -> None:
    """Keys with a secret's name, and passwords inside an address."""
    write("""
        [profiles.a.sources.logs]
        api_key = "abc"
        password = "${PW}"
        ca_certs = "ca.pem"
        [profiles.b.sources.orders]
        url = "postgresql://me:pw@db/shop"
        other = "postgresql://me:${PW}@db/shop"
        third = "postgresql://db/shop"
    """)
    found = plain_secrets(read_config(None, {}))
    assert found == ["profiles.a.sources.logs.api_key", "profiles.b.sources.orders.url"]
    assert [is_secret(key) for key in ("api_key", "client_secret", "password", "order_fields", "ssl_key_file")] == [
        True,
        True,
        True,
        False,
        False,
    ]


# ---- the digest


def test_the_digest_covers_what_changes_a_snapshot_and_nothing_else(write: Write) -> None:
    """Secrets, the store, the budget, how it is shown and a source's paging leave it alone; windows and patterns do not."""
    base = Settings(store="a")
    replace = msgspec.structs.replace
    same = [
        replace(base, store="b"),
        replace(base, language="zh"),
        replace(base, budget=3.0),
        replace(base, profile="x"),
        replace(base, publish=PublishOptions(url="http://a:1")),
    ]
    other = [
        replace(base, max_lines=5),
        replace(base, windows=Windows(before=60.0)),
        replace(base, timezone="Asia/Shanghai"),
    ]
    assert {settings_digest(s) for s in [base, *same]} == {settings_digest(base)}
    assert len({settings_digest(s) for s in [base, *other]}) == 4

    def digest(extra: str) -> str:
        write(LOGS + extra)
        return settings_digest(load_settings(None, "prod", {}))

    assert digest('api_key = "one"') == digest('api_key = "two"') == digest("page_size = 7")
    assert digest('mapping = "ecs"') != digest('mapping = "otel"')


def test_settings_never_show_a_secret(write: Write) -> None:
    """Not even when they are printed."""
    write(LOGS + 'api_key = "hunter2"')
    assert "hunter2" not in repr(load_settings(None, "prod", {}))


# ---- who is told

NOTIFY = """
[profiles.prod.notify.oncall]
kind = "slack"
url = "${SLACK_URL}"
when = ["P1", "located"]
timeout = "20s"
[profiles.prod.notify.hook]
kind = "webhook"
url = "https://automation.example/hooks"
secrets = ["${HOOK_SECRET}"]
"""
SECRETS = {"SLACK_URL": "https://hooks.slack.com/services/T0/B0/abc", "HOOK_SECRET": "whsec_" + "QUJD" * 10}


def test_who_is_told_is_read_only_where_somebody_is_to_be_told(write: Write) -> None:
    """So that their secrets need not be there for a look at a bundle."""
    write(LOGS + NOTIFY)
    assert load_settings(None, "prod", {}).notify == {}
    with pytest.raises(UsageError, match="SLACK_URL is not set"):
        load_settings(None, "prod", {}, notify=True)
    found = load_settings(None, "prod", SECRETS, notify=True).notify
    assert list(found) == ["oncall", "hook"]
    assert (found["oncall"].when, found["oncall"].timeout) == (("P1", "located"), 20.0)


@pytest.mark.parametrize(
    ("table", "sentence"),
    [
        (
            'kind = "slak"\nurl = "https://x.example"',
            "notify.oncall.kind: there is no kind 'slak'; did you mean slack?",
        ),
        ('kind = "slack"', "notify.oncall: missing key url"),
        (
            'kind = "slack"\nurl = "https://x.example"\nwhen = ["P9"]',
            "notify.oncall: when: there is no 'P9'; one of P1,",
        ),
        ('kind = "slack"\nurl = "x"', "notify.oncall: url is no http or https address"),
        (
            'kind = "slack"\nurl = "https://x.example"\nlang = "en"',
            "notify.oncall.lang: unknown key; did you mean language?",
        ),
        ('kind = "webhook"\nurl = "https://x.example"', "notify.oncall: secrets is missing"),
    ],
)
def test_a_wrong_receiver_is_told_with_its_key(write: Write, table: str, sentence: str) -> None:
    write(f"[defaults.notify.oncall]\n{table}\n")
    with pytest.raises(UsageError) as refused:
        load_settings(None, None, {}, notify=True)
    assert sentence in str(refused.value)


def test_who_is_told_changes_no_snapshot_and_shows_no_secret(write: Write) -> None:
    write(LOGS + NOTIFY)
    told, untold = (load_settings(None, "prod", SECRETS, notify=notify) for notify in (True, False))
    assert settings_digest(told) == settings_digest(untold)
    for secret in ("T0/B0/abc", SECRETS["HOOK_SECRET"]):
        assert secret not in repr(told)


def test_the_address_of_a_chat_is_a_secret(write: Write) -> None:
    write('[profiles.prod.notify.oncall]\nkind = "slack"\nurl = "https://hooks.slack.com/services/T0/B0/abc"\n')
    assert plain_secrets(read_config(None, {})) == ["profiles.prod.notify.oncall.url"]
