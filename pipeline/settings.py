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
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, TypeVar
from zoneinfo import ZoneInfo

import msgspec

from pipeline.config import Config, Where, convert, filled, join_key, nearest, type_name
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
            known = {f.encode_name for f in msgspec.structs.fields(Settings)}
            # The commonest slip: a setting at the top of the file, outside its table.
            hint = (
                f"write it below [defaults]: defaults.{key}"
                if key in known
                else nearest(key, ["profile", "defaults", "profiles"])
            )
            raise config.wrong(key, f"unknown key; {hint}")
        if key == "profile" and not isinstance(value, str):
            raise config.wrong(key, f"expected str, got {type_name(value)}")
        if key != "profile" and not isinstance(value, dict):
            raise config.wrong(key, f"expected a table, got {type_name(value)}")
    for name, profile in config.tree.get("profiles", {}).items():
        if not isinstance(profile, dict):
            raise config.wrong(f"profiles.{name}", f"expected a table, got {type_name(profile)}")


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
    settings: Settings = convert(filled(tree, "", where), Settings, "", where)
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
        raise where.wrong(key, f"expected a table, got {type_name(tables)}")
    found: dict[str, Any | UsageError] = {}
    for name, table in tables.items():
        if table is False:
            # `sources.NAME = false` in a profile takes a source of the defaults away.
            continue
        path = f"{key}.{name}"
        try:
            found[name] = convert(filled(table, path, where), shape, path, where)
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
    options: PublishOptions = convert(filled(table, "publish", where), PublishOptions, "publish", where)
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

    options: DeskOptions = convert(filled(table, "desk", where), DeskOptions, "desk", where)
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


def _elasticsearch_named(name: str, key: str, tree: Mapping[str, Any], where: Where) -> ElasticsearchOptions:
    """The options of the configured Elasticsearch source that `key` names."""
    sources = tree.get("sources", {})
    named = sources.get(name, False) if isinstance(sources, dict) else False
    if named is False:
        raise where.wrong(key, f"there is no source {name!r}; {nearest(name, list(sources))}")
    path = f"sources.{name}"
    source = convert(filled(named, path, where), SourceOptions, path, where)
    if not isinstance(source, ElasticsearchOptions):
        raise where.wrong(key, f"the source {name!r} is no Elasticsearch; name one that is")
    return source


def _chosen(config: Config, profile: str | None, env: Mapping[str, str]) -> tuple[dict[str, Any], Where, str | None]:
    """The profile's table as it was written, where its keys stand, and its name."""
    chosen = profile or env.get("PROBLEM_SNAPSHOT_PROFILE") or config.tree.get("profile")
    tree, origins = _merged(config, chosen)
    return tree, Where(config, origins, env), chosen


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
                f"{config.name}: there is no profile {profile!r}; {nearest(profile, [*config.profiles, 'defaults'])}"
            )
        tree = _over(tree, config.tree["profiles"][profile], "", f"profiles.{profile}", origins)
    if "profile" in tree:
        raise config.wrong(f"{origins['profile']}.profile", "unknown key; `profile` stands at the top of the file")
    return tree, origins


def _over(below: Any, above: Mapping[str, Any], path: str, table: str, origins: dict[str, str]) -> dict[str, Any]:
    merged = dict(below) if isinstance(below, dict) else {}
    # A source that becomes another kind has nothing to inherit.
    if "kind" in above and merged.get("kind", above["kind"]) != above["kind"]:
        merged = {}
    for key, value in above.items():
        inner = join_key(path, key)
        origins[inner] = table
        merged[key] = _over(merged.get(key), value, inner, table, origins) if isinstance(value, dict) else value
    return merged


def _check_values(settings: Settings, where: Where) -> None:
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
            f"there is no time zone {name!r}; {nearest(name, sorted(zoneinfo.available_timezones()))}"
        ) from error
