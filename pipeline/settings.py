"""The settings of a run, and `problem-snapshot.toml`, the file that they come from.

    profile = "prod"            # the profile taken when none is asked for
    [defaults]                  # what every profile starts from
    [profiles.prod]             # what is different there

The file is looked for in this order, and the first one found is the only one read: `--config`, the variable
`PROBLEM_SNAPSHOT_CONFIG`, `./problem-snapshot.toml`, `problem-snapshot/problem-snapshot.toml` in the user's XDG
configuration folder, the same in each folder of `XDG_CONFIG_DIRS`. Without a file the built-in values hold, and no
source is configured. `pipeline/init.toml` shows every key.

`${NAME}` in a string is the environment variable, `${NAME:-other}` with a value for when it is not set, `${file:PATH}`
the content of a file without its last line break (a relative path starts at the configuration file), `$${` is a plain
`${`. Between `://` and `@` of an address the value is percent-encoded, so it is stored as it is. Wherever a number of
seconds is meant, `"10s"`, `"5m"`, `"1h30m"` and `10` are understood.
"""

from __future__ import annotations

import json
import os
import re
import tomllib
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, TypeVar
from urllib.parse import quote, unquote
from zoneinfo import ZoneInfo

import msgspec
import msgspec.inspect as shapes

from pipeline.errors import UsageError
from pipeline.faults.thresholds import Thresholds
from pipeline.notify import NotifyOptions
from pipeline.publish.options import PublishOptions, with_source
from pipeline.service.options import ServiceOptions
from pipeline.sources import SourceOptions
from pipeline.sources.elasticsearch import Options as ElasticsearchOptions

if TYPE_CHECKING:
    from parsers.redaction.redactor import Redactor
    from pipeline.desk.options import DeskOptions
    from pipeline.tickets import TicketOptions
else:
    # All kinds of ticket system, which only the hook needs, and the desk, which not everybody has: `tickets_of` and
    # `desk_of` load them.
    TicketOptions = DeskOptions = Any

NAME = "problem-snapshot"
FILE_NAME = "problem-snapshot.toml"

# What a secret file may weigh; anything larger was meant to be something else.
_SECRET_FILE_BYTES = 64 * 1024
_MAX_CONFIG_BYTES = 1024 * 1024

Options = TypeVar("Options")
Seconds = Annotated[float, msgspec.Meta(gt=0, le=366 * 86400)]


class Windows(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How wide the window around the moment is that the ticket means, and how long the time before it, in seconds."""

    before: Seconds = 30 * 60.0
    after: Seconds = 30 * 60.0
    baseline: Seconds = 60 * 60.0


class Patterns(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A shop's own shapes of identifiers, as RE2 expressions; the first group, or the whole match, is the identifier."""

    order_id: tuple[str, ...] = ()
    out_trade_no: tuple[str, ...] = ()
    channel_txn_id: tuple[str, ...] = ()
    trace_id: tuple[str, ...] = ()
    customer_id: tuple[str, ...] = ()
    phone: tuple[str, ...] = ()
    phone_tail: tuple[str, ...] = ()
    device: tuple[str, ...] = ()
    refund_id: tuple[str, ...] = ()

    def by_kind(self) -> dict[str, tuple[str, ...]]:
        """The patterns of each kind that has some."""
        return {kind: found for kind, found in msgspec.structs.asdict(self).items() if found}


class Redacting(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What is replaced beside cards, phones, identity numbers, mail addresses and secrets, which always are."""

    ip_addresses: bool = False
    # Kind -> RE2 expressions, such as `name = ["收货人[:：]\\s*(\\S+)"]`; the first group, or the whole match, is replaced.
    patterns: dict[str, tuple[str, ...]] = {}

    def redactor(self, allow: Collection[str] = (), masked: Mapping[str, str] | None = None) -> Redactor:
        """A redactor as these settings want it: the identifiers in `allow` stay, each of `masked` becomes its form."""
        from parsers.redaction.redactor import Redactor  # loads pyarrow, which reading a file does not need
        from parsers.redaction.settings import RedactionSettings

        settings = RedactionSettings(ip=self.ip_addresses, patterns=self.patterns)
        return Redactor(settings, allow=allow, masked=masked or {})


def default_store() -> str:
    """The folder in which snapshots are kept when nothing else is said."""
    import platformdirs  # only when no store is configured

    return str(platformdirs.user_data_path(NAME, appauthor=False))


class Settings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Everything that a run is told beside the ticket. `budget` is in seconds.

    `language` is how a snapshot is shown. `timezone` is that, too, and the zone of plain log files' times without offset;
    without one it is the ticket's own offset.
    """

    profile: str = "defaults"
    language: Literal["auto", "en", "zh"] = "auto"
    timezone: str | None = None
    budget: Seconds = 10.0
    max_lines: Annotated[int, msgspec.Meta(ge=1, le=100_000_000)] = 200_000
    store: str = msgspec.field(default_factory=default_store)
    # A file that `learn-weights` wrote; without one, or where it is empty, the shipped weights hold.
    weights: str | None = None
    # A folder, or an fsspec URL, that `learn` wrote: what is usual at each hour of the week.
    catalogue: str | None = None
    windows: Windows = Windows()
    thresholds: Thresholds = msgspec.field(default_factory=Thresholds)
    identifiers: Patterns = Patterns()
    redaction: Redacting = Redacting()
    sources: dict[str, SourceOptions] = {}
    # Who is told of snapshots; only loaded where somebody is to be told.
    notify: dict[str, NotifyOptions] = {}
    # Where snapshots are published, its `source` resolved; only loaded where something is to be published.
    publish: PublishOptions | None = None
    # The ticket systems whose deliveries are taken and to whose tickets notes go; only loaded where they are asked for.
    tickets: dict[str, TicketOptions] = {}
    service: ServiceOptions = ServiceOptions()
    # The service desk. Without it a snapshot tells nothing of what a desk knows.
    desk: DeskOptions | None = None

    @property
    def zone(self) -> ZoneInfo | None:
        """The zone of `timezone`, or None where the ticket's own offset holds."""
        return ZoneInfo(self.timezone) if self.timezone else None

    @property
    def before(self) -> timedelta:
        """How far the window reaches back from its anchor."""
        return timedelta(seconds=self.windows.before)

    @property
    def after(self) -> timedelta:
        """How far the window reaches on from its anchor."""
        return timedelta(seconds=self.windows.after)

    @property
    def baseline(self) -> timedelta:
        """How much time before the window it is compared with."""
        return timedelta(seconds=self.windows.baseline)


@dataclass(frozen=True)
class Config:
    """A configuration file as it was written: `${...}` not yet filled in. Without a file, `path` is None."""

    path: Path | None = None
    tree: Mapping[str, Any] = field(default_factory=dict)

    @property
    def name(self) -> str:
        """What messages call the file."""
        return str(self.path) if self.path else "built-in settings"

    @property
    def profiles(self) -> list[str]:
        """The profiles that the file has."""
        return list(self.tree.get("profiles", {}))


# ---- durations


_PART = re.compile(r"\s*([0-9]+(?:\.[0-9]+)?)\s*(ms|s|m|h|d)")
_UNIT_SECONDS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}


def parse_seconds(text: str) -> float:
    """A duration in seconds. Raises `ValueError` with the sentence that says how to write one.

    >>> parse_seconds("1h30m"), parse_seconds("250ms"), parse_seconds("10")
    (5400.0, 0.25, 10.0)
    """
    if re.fullmatch(r"\s*[0-9]+(\.[0-9]+)?\s*", text):
        return float(text)
    total, at = 0.0, 0
    while at < len(text) and (part := _PART.match(text, at)):
        total += float(part[1]) * _UNIT_SECONDS[part[2]]
        at = part.end()
    if at == 0 or text[at:].strip():
        raise ValueError(f"{text!r} is not a duration; write 10s, 5m, 1h30m or a number of seconds")
    return total


# ---- finding and reading the file


def find_config(path: Path | None, env: Mapping[str, str]) -> Path | None:
    """The configuration file that is used, or None. Raises `UsageError` where a file that was named is not there."""
    named = str(path) if path else env.get("PROBLEM_SNAPSHOT_CONFIG", "")
    if named:
        if not Path(named).is_file():
            asked = "--config" if path else "PROBLEM_SNAPSHOT_CONFIG"
            raise UsageError(f"{named}: no such file (named by {asked}); `problem-snapshot init` writes one")
        return Path(named)
    return next((place for place in config_places(env) if place.is_file()), None)


def config_places(env: Mapping[str, str]) -> Iterator[Path]:
    """Where a configuration file is looked for when none is named, in order."""
    yield Path(FILE_NAME)
    import platformdirs  # 10 ms that a file in the working folder does not need

    home = env.get("XDG_CONFIG_HOME", "")
    # The XDG rules: a relative path in these variables is to be ignored.
    yield (
        Path(home) / NAME if Path(home).is_absolute() else platformdirs.user_config_path(NAME, appauthor=False)
    ) / FILE_NAME
    folders = [Path(text) for text in env.get("XDG_CONFIG_DIRS", "").split(os.pathsep) if Path(text).is_absolute()]
    if folders:
        yield from (folder / NAME / FILE_NAME for folder in folders)
    else:
        yield platformdirs.site_config_path(NAME, appauthor=False) / FILE_NAME


def read_config(path: Path | None, env: Mapping[str, str]) -> Config:
    """The configuration file's content, its outline checked. Raises `UsageError`."""
    found = find_config(path, env)
    if found is None:
        return Config()
    try:
        data = found.read_bytes()
    except OSError as error:
        raise UsageError(f"{found}: cannot be read: {error.strerror}") from error
    if len(data) > _MAX_CONFIG_BYTES:
        raise UsageError(f"{found}: is {len(data):,} bytes; a configuration file has less than {_MAX_CONFIG_BYTES:,}")
    try:
        tree = tomllib.loads(data.decode("utf-8-sig"))
    except UnicodeDecodeError as error:
        raise UsageError(f"{found}: is not UTF-8 (byte {error.start}); save it as UTF-8") from error
    except tomllib.TOMLDecodeError as error:
        raise UsageError(f"{found}: is not TOML: {error}") from error
    config = Config(found, tree)
    _check_outline(config)
    return config


def _check_outline(config: Config) -> None:
    for key, value in config.tree.items():
        if key not in {"profile", "defaults", "profiles"}:
            known = {f.encode_name for f in _shape_of(Settings).fields}
            # The commonest slip: a setting at the top of the file, outside its table.
            hint = (
                f"write it below [defaults]: defaults.{key}"
                if key in known
                else _nearest(key, ["profile", "defaults", "profiles"])
            )
            raise _wrong(config, key, f"unknown key; {hint}")
        if key == "profile" and not isinstance(value, str):
            raise _wrong(config, key, f"expected str, got {_type_name(value)}")
        if key != "profile" and not isinstance(value, dict):
            raise _wrong(config, key, f"expected a table, got {_type_name(value)}")
    for name, profile in config.tree.get("profiles", {}).items():
        if not isinstance(profile, dict):
            raise _wrong(config, f"profiles.{name}", f"expected a table, got {_type_name(profile)}")


# ---- from the file to Settings


def load_settings(
    path: Path | None = None,
    profile: str | None = None,
    env: Mapping[str, str] | None = None,
    *,
    sources: bool = True,
    publish: bool = False,
    service: bool = False,
    notify: bool = False,
) -> Settings:
    """The settings of `profile` out of the file found; see `settings_of`."""
    env = os.environ if env is None else env
    return settings_of(
        read_config(path, env), profile, env, sources=sources, publish=publish, service=service, notify=notify
    )


def settings_of(
    config: Config,
    profile: str | None,
    env: Mapping[str, str],
    *,
    sources: bool = True,
    publish: bool = False,
    service: bool = False,
    notify: bool = False,
) -> Settings:
    """The settings of one profile of `config`. Raises `UsageError` whose sentence names file, key and value.

    With `sources` false the sources are left out, without `publish` where snapshots are published, without `service` the hook
    and its ticket systems, without `notify` who is told, so that the secrets of what is not asked need not be there.
    """
    tree, where, chosen = _chosen(config, profile, env)
    for key in ("sources", "publish", "tickets", "notify", "desk", *(() if service else ("service",))):
        tree.pop(key, None)
    settings: Settings = _convert(_filled(tree, "", where), Settings, "", where)
    _check_values(settings, where)
    catalogue = settings.catalogue
    settings = msgspec.structs.replace(
        settings,
        weights=_beside_config(settings.weights, config),
        catalogue=catalogue if catalogue and "://" in catalogue else _beside_config(catalogue, config),
    )
    target = publish_of(config, profile, env) if publish else None
    return msgspec.structs.replace(
        settings,
        profile=chosen or "defaults",
        sources=_sound(sources_of(config, profile, env)) if sources else {},
        publish=target,
        tickets=_sound(tickets_of(config, profile, env)) if service else {},
        notify=_sound(notify_of(config, profile, env)) if notify else {},
        desk=desk_of(config, profile, env),
    )


def _sound(options: Mapping[str, Options | UsageError]) -> dict[str, Options]:
    """The options, each of them right. Raises the first error."""
    found: dict[str, Options] = {}
    for name, one in options.items():
        if isinstance(one, UsageError):
            raise one
        found[name] = one
    return found


def _beside_config(path: str | None, config: Config) -> str | None:
    """A path of the file as it is meant: from the file's own folder, wherever the program is started."""
    if not path:
        return None
    place = Path(path).expanduser()
    return str(config.path.parent / place if config.path else place)


def sources_of(config: Config, profile: str | None, env: Mapping[str, str]) -> dict[str, SourceOptions | UsageError]:
    """The sources of one profile, each with its options or with what is wrong with them."""
    return _tables_of(config, profile, env, "sources", SourceOptions)


def tickets_of(config: Config, profile: str | None, env: Mapping[str, str]) -> dict[str, TicketOptions | UsageError]:
    """The ticket systems of one profile, each with its options or with what is wrong with them."""
    from pipeline.tickets import TicketOptions

    return _tables_of(config, profile, env, "tickets", TicketOptions)


def notify_of(config: Config, profile: str | None, env: Mapping[str, str]) -> dict[str, NotifyOptions | UsageError]:
    """Who is told of snapshots in one profile, each with its options or with what is wrong with them."""
    return _tables_of(config, profile, env, "notify", NotifyOptions)


def _tables_of(
    config: Config, profile: str | None, env: Mapping[str, str], key: str, shape: Any
) -> dict[str, Any | UsageError]:
    """The tables `[PROFILE.KEY.NAME]`, each in its shape or with what is wrong with it."""
    tree, where, _ = _chosen(config, profile, env)
    tables = tree.get(key, {})
    if not isinstance(tables, dict):
        raise where.wrong(key, f"expected a table, got {_type_name(tables)}")
    found: dict[str, Any | UsageError] = {}
    for name, table in tables.items():
        if table is False:
            # `sources.NAME = false` in a profile takes a source of the defaults away.
            continue
        path = f"{key}.{name}"
        try:
            found[name] = _convert(_filled(table, path, where), shape, path, where)
        except UsageError as error:
            found[name] = error
    return found


def source_table(config: Config, profile: str | None, env: Mapping[str, str], name: str) -> str:
    """The table of the configuration in which the source `name` stands, as TOML spells it."""
    _, _, chosen = _chosen(config, profile, env)
    own = config.tree.get("profiles", {}).get(chosen, {}).get("sources", {})
    parts = ["profiles", str(chosen), "sources", name] if name in own else ["defaults", "sources", name]
    return ".".join(part if re.fullmatch(r"[\w-]+", part, re.ASCII) else json.dumps(part) for part in parts)


def publish_of(config: Config, profile: str | None, env: Mapping[str, str]) -> PublishOptions | None:
    """Where one profile publishes, the connection of the source that it names filled in; None where it says nothing.

    Raises `UsageError`.
    """
    tree, where, _ = _chosen(config, profile, env)
    table = tree.get("publish", False)
    if table is False:
        # `publish = false` in a profile takes that of the defaults away.
        return None
    options: PublishOptions = _convert(_filled(table, "publish", where), PublishOptions, "publish", where)
    if not options.source:
        return options
    return with_source(options, _elasticsearch_named(options.source, "publish.source", tree, where))


def desk_of(config: Config, profile: str | None, env: Mapping[str, str]) -> DeskOptions | None:
    """The desk of one profile, its paths from the file's folder and its `source` resolved; None where it says nothing.

    Raises `UsageError`.
    """
    tree, where, _ = _chosen(config, profile, env)
    table = tree.get("desk", False)
    if table is False:
        # `desk = false` in a profile takes that of the defaults away.
        return None
    if isinstance(table, dict) and "connection" in table:
        raise where.wrong("desk.connection", "unknown key; source = the name of an Elasticsearch source says where")
    from pipeline.desk.options import DeskOptions

    options: DeskOptions = _convert(_filled(table, "desk", where), DeskOptions, "desk", where)
    paths: dict[str, Any] = {
        name: _beside_config(getattr(options, name), config) for name in ("history", "index", "knowledge")
    }
    found = _elasticsearch_named(options.source, "desk.source", tree, where) if options.source else None
    grading = msgspec.structs.replace(options.grading, severity=_beside_config(options.grading.severity, config))
    if isinstance(table, dict) and isinstance(table.get("portrait"), dict) and "shared" in table["portrait"]:
        raise where.wrong("desk.portrait.shared", "unknown key; it is told from the tables of tickets")
    if options.portrait is not None:
        shared = _kinds_of_several(tree.get("tickets"))
        options = msgspec.structs.replace(options, portrait=msgspec.structs.replace(options.portrait, shared=shared))
    for name in ("questions", "portrait", "remote"):
        if (one := getattr(options, name)) is not None:
            kept = {key: _beside_config(getattr(one, key), config) for key in ("file", "folder") if hasattr(one, key)}
            paths[name] = msgspec.structs.replace(one, **kept)
    return msgspec.structs.replace(options, connection=found, grading=grading, **paths)


def _kinds_of_several(tickets: object) -> tuple[str, ...]:
    """The kinds of which more than one ticket system is configured."""
    named = tickets.values() if isinstance(tickets, dict) else ()
    kinds = [str(one["kind"]) for one in named if isinstance(one, dict) and "kind" in one]
    return tuple(sorted({kind for kind in kinds if kinds.count(kind) > 1}))


def _elasticsearch_named(name: str, key: str, tree: Mapping[str, Any], where: _Where) -> ElasticsearchOptions:
    """The options of the configured Elasticsearch source that `key` names."""
    sources = tree.get("sources", {})
    named = sources.get(name, False) if isinstance(sources, dict) else False
    if named is False:
        raise where.wrong(key, f"there is no source {name!r}; {_nearest(name, list(sources))}")
    path = f"sources.{name}"
    source = _convert(_filled(named, path, where), SourceOptions, path, where)
    if not isinstance(source, ElasticsearchOptions):
        raise where.wrong(key, f"the source {name!r} is no Elasticsearch; name one that is")
    return source


def _chosen(config: Config, profile: str | None, env: Mapping[str, str]) -> tuple[dict[str, Any], _Where, str | None]:
    """The profile's table as it was written, where its keys stand, and its name."""
    chosen = profile or env.get("PROBLEM_SNAPSHOT_PROFILE") or config.tree.get("profile")
    tree, origins = _merged(config, chosen)
    return tree, _Where(config, origins, env), chosen


def _merged(config: Config, profile: str | None) -> tuple[dict[str, Any], dict[str, str]]:
    """The profile's table over the defaults, and for each key the table in which it stands."""
    origins: dict[str, str] = {}
    tree = _over({}, config.tree.get("defaults", {}), "", "defaults", origins)
    if profile and profile != "defaults":
        if config.path is None:
            raise UsageError(
                f"profile {profile!r}: there is no configuration file; `problem-snapshot init` writes ./{FILE_NAME}"
            )
        if profile not in config.profiles:
            raise UsageError(
                f"{config.name}: there is no profile {profile!r}; {_nearest(profile, [*config.profiles, 'defaults'])}"
            )
        tree = _over(tree, config.tree["profiles"][profile], "", f"profiles.{profile}", origins)
    if "profile" in tree:
        raise _wrong(config, f"{origins['profile']}.profile", "unknown key; `profile` stands at the top of the file")
    return tree, origins


def _over(below: Any, above: Mapping[str, Any], path: str, table: str, origins: dict[str, str]) -> dict[str, Any]:
    merged = dict(below) if isinstance(below, dict) else {}
    # A source that becomes another kind has nothing to inherit.
    if "kind" in above and merged.get("kind", above["kind"]) != above["kind"]:
        merged = {}
    for key, value in above.items():
        inner = _join(path, key)
        origins[inner] = table
        merged[key] = _over(merged.get(key), value, inner, table, origins) if isinstance(value, dict) else value
    return merged


class _Filled(str):
    """A string that a variable or a file had a part in: it may be a secret, and it may stand for a number."""

    __slots__ = ()


@dataclass(frozen=True)
class _Where:
    """What is needed to say where a wrong value stands."""

    config: Config
    origins: Mapping[str, str]
    env: Mapping[str, str]

    def wrong(self, path: str, sentence: str) -> UsageError:
        known, table = path, None
        while known and (table := self.origins.get(known)) is None:
            known = known.rpartition(".")[0]
        return _wrong(self.config, _join(table or "defaults", path), sentence)


def _wrong(config: Config, key: str, sentence: str) -> UsageError:
    return UsageError(f"{config.name}: {key}: {sentence}")


_HOLE = re.compile(r"\$\$\{|\$\{([^{}]*)\}")
_VARIABLE = re.compile(r"([A-Za-z_][A-Za-z0-9_]*)(?::-(.*))?", re.DOTALL)


def _filled(value: Any, path: str, where: _Where) -> Any:
    """`value` with every `${...}` in it replaced."""
    if isinstance(value, dict):
        return {key: _filled(inner, _join(path, key), where) for key, inner in value.items()}
    if isinstance(value, list):
        return [_filled(inner, path, where) for inner in value]
    if not isinstance(value, str) or "${" not in value:
        return value

    def fill(hole: re.Match[str]) -> str:
        if hole[1] is None:
            return "${"
        text = _fill(hole[1], path, where)
        # A password may hold any character; in an address some of them mean something else.
        return quote(text, safe="") if _in_login(value, hole) else text

    return _Filled(_HOLE.sub(fill, value))


def _in_login(value: str, hole: re.Match[str]) -> bool:
    """Whether the hole lies between `://` and `@` of an address."""
    before = _HOLE.sub("", value[: hole.start()]).rpartition("://")
    after = _HOLE.sub("", value[hole.end() :])
    return bool(before[1]) and not re.search("[/?#@]", before[2]) and bool(re.match("[^/?#@]*@", after))


def _fill(name: str, path: str, where: _Where) -> str:
    if name.startswith("file:"):
        return _secret_file(name.removeprefix("file:"), path, where)
    variable = _VARIABLE.fullmatch(name)
    if variable is None:
        raise where.wrong(path, f"${{{name}}} is neither ${{VARIABLE}} nor ${{file:PATH}}; write $${{ for a plain ${{")
    found = where.env.get(variable[1]) or variable[2]
    if found is None:
        raise where.wrong(path, f"the environment variable {variable[1]} is not set")
    return found


def _secret_file(text: str, path: str, where: _Where) -> str:
    place = Path(text).expanduser()
    if where.config.path:
        place = where.config.path.parent / place
    try:
        with place.open("rb") as file:
            data = file.read(_SECRET_FILE_BYTES + 1)
        if len(data) > _SECRET_FILE_BYTES:
            raise where.wrong(path, f"the file {place} is too large for a secret")
        return data.decode("utf-8-sig").rstrip("\r\n")
    except OSError as error:
        raise where.wrong(path, f"the file {place} cannot be read: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise where.wrong(path, f"the file {place} is not UTF-8 text") from error


def _shape_of(kind: Any) -> Any:
    return shapes.type_info(kind)


def _convert(value: Any, kind: Any, path: str, where: _Where) -> Any:
    """`value` as `kind`, or a `UsageError` that says which key is wrong and why."""
    tidy = _tidied(value, _shape_of(kind), path, where)
    try:
        return msgspec.convert(tidy, kind)
    except msgspec.ValidationError as error:
        sentence, _, at = str(error).partition(" - at `$")
        inner = at.rstrip("`").replace("[...]", "").lstrip(".")
        raise where.wrong(_join(path, inner) if inner else path or "settings", _plain(sentence)) from error


def _plain(sentence: str) -> str:
    sentence = sentence.replace("`", "").replace("Object missing required field", "missing key")
    return sentence[:1].lower() + sentence[1:] if sentence.startswith(("Expected", "Invalid")) else sentence


def _tidied(value: Any, shape: Any, path: str, where: _Where) -> Any:
    """`value` with durations as seconds and filled-in numbers as numbers; unknown keys and words are told here."""
    match shape:
        case shapes.Metadata(type=inner):
            return _tidied(value, inner, path, where)
        case shapes.StructType() if isinstance(value, dict):
            return _tidied_struct(value, shape, path, where)
        case shapes.UnionType(types=types) if isinstance(value, dict) and any(t.tag for t in _structs(types)):
            return _tidied_choice(value, _structs(types), path, where)
        case shapes.UnionType(types=types):
            # An optional value: the one shape beside null says how it is to be read.
            rest = [t for t in types if not isinstance(t, shapes.NoneType)]
            return _tidied(value, rest[0], path, where) if len(rest) == 1 else _bare(value)
        case shapes.DictType(value_type=inner) if isinstance(value, dict):
            return {key: _tidied(item, inner, _join(path, key), where) for key, item in value.items()}
        case shapes.VarTupleType(item_type=inner) | shapes.ListType(item_type=inner) if isinstance(value, list):
            return [_tidied(item, inner, path, where) for item in value]
        case shapes.FloatType() if isinstance(value, str):
            try:
                return parse_seconds(value)
            except ValueError as error:
                raise where.wrong(path, _hidden(value, str(error))) from error
        case shapes.LiteralType(values=words) if value not in words:
            raise where.wrong(path, _hidden(value, f"{value!r} is not one of {', '.join(map(str, words))}"))
        case shapes.IntType() if isinstance(value, _Filled) and re.fullmatch(r"-?[0-9]{1,18}", value):
            return int(value)
        case shapes.BoolType() if isinstance(value, _Filled) and value.lower() in {"true", "false", "1", "0"}:
            return value.lower() in {"true", "1"}
    return _bare(value)


def _structs(types: tuple[Any, ...]) -> list[Any]:
    return [t for t in types if isinstance(t, shapes.StructType)]


def _bare(value: Any) -> Any:
    """`value` with plain strings."""
    if isinstance(value, list):
        return [_bare(item) for item in value]
    if isinstance(value, dict):
        return {key: _bare(item) for key, item in value.items()}
    return str(value) if isinstance(value, _Filled) else value


def _hidden(value: Any, sentence: str) -> str:
    return "the value that ${...} gave does not fit here" if isinstance(value, _Filled) else sentence


def _tidied_struct(value: Mapping[str, Any], shape: Any, path: str, where: _Where) -> dict[str, Any]:
    known = {f.encode_name: f.type for f in shape.fields}
    tidy: dict[str, Any] = {}
    for key, item in value.items():
        inner = _join(path, key)
        if key == shape.tag_field:
            tidy[key] = item
        elif key in known:
            tidy[key] = _tidied(item, known[key], inner, where)
        else:
            raise where.wrong(inner, f"unknown key; {_nearest(key, [k for k in known if inner != 'profile'])}")
    return tidy


def _tidied_choice(value: Mapping[str, Any], choices: list[Any], path: str, where: _Where) -> dict[str, Any]:
    """A table whose `kind` says which of several shapes it has."""
    tag_field = choices[0].tag_field
    kinds = {t.tag: t for t in choices}
    if tag_field not in value:
        raise where.wrong(path, f"missing key {tag_field}; one of {', '.join(sorted(kinds))}")
    kind = value[tag_field]
    if not isinstance(kind, str) or kind not in kinds:
        sentence = f"there is no {tag_field} {kind!r}; {_nearest(str(kind), sorted(kinds))}"
        raise where.wrong(_join(path, tag_field), _hidden(kind, sentence))
    return {**_tidied_struct(value, kinds[kind], path, where), tag_field: str(kind)}


def _check_values(settings: Settings, where: _Where) -> None:
    """What types cannot say."""
    if settings.timezone is not None:
        try:
            check_zone(settings.timezone)
        except UsageError as error:
            raise where.wrong("timezone", str(error)) from error
    patterns = [
        *((f"identifiers.{kind}", text) for kind, texts in settings.identifiers.by_kind().items() for text in texts),
        *(
            (f"redaction.patterns.{kind}", text)
            for kind, texts in settings.redaction.patterns.items()
            for text in texts
        ),
    ]
    if not patterns:
        return
    import re2  # a native module that is only needed where there are patterns

    quiet = re2.Options()
    quiet.log_errors = False
    for key, text in patterns:
        try:
            re2.compile(text, quiet)
        except re2.error as error:
            reason = error.args[0].decode() if error.args and isinstance(error.args[0], bytes) else str(error)
            raise where.wrong(key, f"{text!r} is not an RE2 expression: {reason}") from error


def check_zone(name: str) -> ZoneInfo:
    """The zone of that IANA name. Raises `UsageError` with the nearest name there is."""
    import zoneinfo

    try:
        return ZoneInfo(name)
    # A folder's name ("Asia") is an OSError, "../x" a ValueError.
    except (zoneinfo.ZoneInfoNotFoundError, ValueError, OSError) as error:
        raise UsageError(
            f"there is no time zone {name!r}; {_nearest(name, sorted(zoneinfo.available_timezones()))}"
        ) from error


def _join(path: str, key: str) -> str:
    return f"{path}.{key}" if path else key


def _type_name(value: Any) -> str:
    return {"dict": "a table", "list": "an array"}.get(type(value).__name__, type(value).__name__)


def _nearest(word: str, known: list[str]) -> str:
    import difflib  # only for a message

    near = difflib.get_close_matches(word, known, n=1, cutoff=0.5)
    if not near:
        near = [k for k in known if k.rpartition("/")[2].lower() == word.lower()][:1]
    if near:
        return f"did you mean {near[0]}?"
    shown = ", ".join(known[:20])
    return f"there are: {shown}" if known else "there are none"


# ---- secrets


_SECRET = re.compile(
    r"passw|passphrase|secret|token|bearer|credential|private_?key|authorization|cookie|(^|_)(pwd|auth|api_?key)($|_)",
    re.IGNORECASE,
)
# fsspec chains addresses: `simplecache::ftp://host/folder`.
_URL = re.compile(r"(?P<scheme>(?:[A-Za-z][\w+.-]*::)*[A-Za-z][A-Za-z0-9+.-]*://)(?P<rest>.*)", re.DOTALL)
# A password may hold an unquoted "/", "?" or "#", which SQLAlchemy takes: it goes on to the last "@" of the address.
_LOGIN = re.compile(r"[^/?#@:]*(?::(?P<secret>[^@]*))?@(?:[^?#]*@)?")
_PARAMETER = re.compile(r"[?&;](?P<name>[^=&;#?]+)=(?P<value>[^&;#]+)")


def is_secret(key: str) -> bool:
    """Whether a key of that name holds a secret.

    >>> is_secret("api_key"), is_secret("key_fields")
    (True, False)
    """
    return bool(_SECRET.search(key)) and not key.endswith(("_file", "_path"))


def plain_secrets(config: Config) -> list[str]:
    """The keys of the file that hold a secret in plain text instead of `${NAME}` or `${file:PATH}`."""
    found: list[str] = []

    def look(value: Any, path: str, *, secret: bool) -> None:
        if isinstance(value, dict):
            # The address of a chat is its secret.
            told = re.search(r"(?:^|\.)notify\.[^.]*$", path) is not None
            for key, inner in value.items():
                look(inner, _join(path, key), secret=secret or is_secret(key) or (told and key == "url"))
        elif isinstance(value, list):
            for inner in value:
                look(inner, path, secret=secret)
        elif (
            isinstance(value, str)
            and value
            and ((secret and "${" not in value) or any("${" not in one for one in secrets_in(value)))
        ):
            found.append(path)

    look(config.tree, "", secret=False)
    return list(dict.fromkeys(found))


def secrets_in(text: str) -> list[str]:
    """The password and the secret parameters of an address; nothing where `text` is none."""
    url = _URL.match(text)
    if url is None:
        return []
    login = _LOGIN.match(url["rest"])
    # `host:9200/a@b` has a port there.
    password = login["secret"] if login and not re.match("[0-9]+/", login["secret"] or "") else None
    parameters = [one["value"] for one in _PARAMETER.finditer(url["rest"]) if is_secret(unquote(one["name"]))]
    return [password, *parameters] if password else parameters


def without_login(text: str) -> str:
    """An address without user, password, query and fragment, as it may be shown; any other text as it is.

    >>> without_login("postgresql://me:p/w@db:5432/shop?password=one"), without_login("a@b")
    ('postgresql://db:5432/shop', 'a@b')
    """
    url = _URL.match(text)
    return url["scheme"] + re.split("[?#]", _LOGIN.sub("", url["rest"], count=1))[0] if url else text


def settings_digest(settings: Settings) -> str:
    """The sha256 of what can change a snapshot: never a secret, the store, the budget, or how the snapshot is shown.

    The budget is left out since a snapshot is only the same again where no deadline was hit.
    """
    from snapshots.model import canonical_json, sha256_hex

    plain = msgspec.to_builtins(settings)
    for key in ("profile", "store", "budget", "language", "publish", "notify", "tickets", "service"):
        plain.pop(key)
    # What the file holds counts, not where it lies.
    try:
        plain["weights"] = sha256_hex(Path(settings.weights).read_bytes()) if settings.weights else None
    except OSError as error:
        raise UsageError(f"{settings.weights}: the weights cannot be read: {error.strerror}") from error
    # Left out where there is none, so that digests of before there were catalogues still hold.
    if plain.pop("catalogue"):
        from pipeline.learning.catalogue import open_catalogue

        plain["catalogue"] = open_catalogue(str(settings.catalogue)).manifest.digest
    # What the desk says counts, not where its history lies. Without one the digest is what it was before there were desks.
    if (desk := plain.pop("desk")) is not None and settings.desk is not None:
        kept = desk.keys() - {"history", "index", "connection", "remote", *_KNOWLEDGE, *_ASKED_FOR}
        plain["desk"] = {key: desk[key] for key in kept}
        from pipeline.desk.severity_table import table_sha256

        plain["desk"]["grading"]["severity"] = table_sha256(settings.desk.grading.severity)
        # Whom the desk calls changes no snapshot.
        del plain["desk"]["grading"]["room"]
        if settings.desk.knowledge:
            plain["desk"] |= {key: desk[key] for key in _KNOWLEDGE} | {
                "knowledge": _knowledge_digest(settings.desk.knowledge)
            }
        plain["desk"] |= _asked_for(settings.desk)
    plain["sources"] = {name: _without_secrets(options) for name, options in plain["sources"].items()}
    return sha256_hex(canonical_json(plain))


# Settings of knowledge count only where there is a folder of it, by what its entries say.
_KNOWLEDGE = frozenset({"knowledge", "advice", "versions"})


def _knowledge_digest(folder: str) -> str | None:
    """The digest of the entries, None where there are none to read; the snapshot itself tells that."""
    from pipeline.desk.shelf import read_shelf

    try:
        return read_shelf(Path(folder)).digest
    except UsageError:
        return None


# Sections of the desk that are there where they are asked for. Left out of the digest otherwise, so that older ones hold.
_ASKED_FOR = frozenset({"questions", "portrait", "self_service"})


def _asked_for(desk: DeskOptions) -> dict[str, Any]:
    """What of those sections' settings changes a snapshot: what their files say, and how much is told."""
    from pipeline.desk.portrait_rules import rules_sha256
    from pipeline.desk.question_table import questions_sha256

    found: dict[str, Any] = {}
    if desk.questions:
        found["questions"] = {"file": questions_sha256(desk.questions.file), "most": desk.questions.most}
    if desk.portrait:
        found["portrait"] = {"file": rules_sha256(desk.portrait.file), "most": desk.portrait.most}
    if desk.self_service:
        found["self_service"] = {"sure": desk.self_service.sure}
    return found


# How a source is read, not what is read.
_HOW = frozenset({"timeout", "retries", "page_size", "compress", "esql"})


def _without_secrets(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _without_secrets(inner) for key, inner in value.items() if not is_secret(key) and key not in _HOW}
    if isinstance(value, list | tuple):
        return [_without_secrets(inner) for inner in value]
    return without_login(value) if isinstance(value, str) else value
