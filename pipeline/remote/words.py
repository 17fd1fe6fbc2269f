"""What people read of a collection: the consent text, what would be read, what was taken, the way it is done."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import datetime, timedelta
from urllib.parse import urlsplit

from pipeline.remote.files import Chosen, Left
from pipeline.remote.manifest import Manifest, moment
from pipeline.remote.receipt import Receipt
from snapshots.model import Text
from snapshots.words import Language, text_in

# So many files of each kind are named on the screen; the bundle's own list has all of them.
_SHOWN = 30


def consent_text(desk: str, system: str, ticket: str, host: str, keep_days: int) -> Text:
    """What the customer agrees to."""
    return Text(
        en=f"{desk} asks to read the log files named here on this machine, only records of the time named here, to find the "
        f"cause of ticket {ticket} ({system}). Card, phone and identity numbers, mail addresses, passwords, tokens and keys are "
        f"masked on this machine, before anything leaves it. The bundle is sent to {host}, is used for this ticket alone and is "
        f"deleted there after {keep_days} days. You may refuse: nothing is read then, and your ticket is worked on all the same.",
        zh=f"{desk} 请求读取本机上此处列出的日志文件，且仅限此处列出的时间范围，用于查找工单 {ticket}（{system}）的原因。银行卡号、电话号码、"
        f"证件号码、邮箱、密码、令牌和密钥会先在本机上脱敏，然后才会离开本机。资料包将发送到 {host}，仅用于本工单，{keep_days} 天后删除。"
        "您可以拒绝：拒绝后不会读取任何内容，工单仍会照常处理。",
    )


def size_text(size: int) -> str:
    """Bytes as people read them.

    >>> size_text(900), size_text(2_400_000), size_text(3 << 30)
    ('900 B', '2.3 MiB', '3.0 GiB')
    """
    value = float(size)
    for unit in ("B", "KiB", "MiB"):
        if value < 1024:
            return f"{value:.0f} {unit}" if unit == "B" else f"{value:.1f} {unit}"
        value /= 1024
    return f"{value:.1f} GiB"


def window_text(manifest: Manifest) -> str:
    """The time asked for, in the ticket's zone."""
    start, end = manifest.span
    zone = datetime.fromisoformat(manifest.created_at).tzinfo
    return f"{start.astimezone(zone):%Y-%m-%d %H:%M:%S} – {_with_zone(end, manifest)}"


def until_text(manifest: Manifest) -> str:
    """Until when the desk takes something, in the ticket's zone."""
    return _with_zone(moment(manifest.expires_at), manifest)


def _with_zone(value: datetime, manifest: Manifest) -> str:
    shown = value.astimezone(datetime.fromisoformat(manifest.created_at).tzinfo)
    return f"{shown:%Y-%m-%d %H:%M:%S} {offset_text(shown.utcoffset() or timedelta())}"


def offset_text(offset: timedelta) -> str:
    """How far a zone is from UTC.

    >>> offset_text(timedelta(hours=8)), offset_text(timedelta(hours=-3, minutes=-30)), offset_text(timedelta())
    ('UTC+08:00', 'UTC-03:30', 'UTC')
    """
    minutes = round(abs(offset.total_seconds()) / 60)
    sign = "-" if offset < timedelta() else "+"
    return f"UTC{sign}{minutes // 60:02d}:{minutes % 60:02d}" if minutes else "UTC"


def asked_lines(
    manifest: Manifest, chosen: Sequence[Chosen], left: Sequence[Left], zone: str, language: Language
) -> Iterator[str]:
    """What would be read, what would not, and the text that is agreed to. `zone` is of times in the logs that name none."""
    zh = language == "zh"
    total = size_text(sum(one.bytes for one in chosen))
    host, until = urlsplit(manifest.upload).netloc, until_text(manifest)
    most = size_text(manifest.max_bytes)
    if zh:
        yield f"{manifest.desk} 为工单 {manifest.ticket}（{manifest.system}）请求日志"
        yield f"  时间范围：{window_text(manifest)}（日志中未注明时区的时间按 {zone} 解释）"
        yield f"  发送到：{host}，{until} 前有效"
        yield f"  上限：最多取 {most}"
    else:
        yield f"{manifest.desk} asks for logs, for ticket {manifest.ticket} ({manifest.system})"
        yield f"  time: {window_text(manifest)} (times in the logs that name no zone are taken as {zone})"
        yield f"  to: {host}, until {until}"
        yield f"  at most: {most}"
    if manifest.screen:
        yield f"  {'屏幕共享：' if zh else 'screen sharing: '}{manifest.screen}"
    yield ""
    many = "" if len(chosen) == 1 else "s"
    yield (
        f"将读取 {len(chosen):,} 个文件，共 {total}：" if zh else f"Would be read: {len(chosen):,} file{many}, {total}"
    )
    yield from _some([f"  {one.path}  {size_text(one.bytes)}" for one in chosen], zh=zh)
    if left:
        yield f"不会读取 {len(left):,} 项：" if zh else f"Would not be read: {len(left):,}"
        yield from _some([f"  {one.path}{'：' if zh else ': '}{text_in(one.why, language)}" for one in left], zh=zh)
    yield ""
    yield text_in(manifest.consent, language)


def _some(lines: Sequence[str], *, zh: bool) -> Iterator[str]:
    yield from lines[:_SHOWN]
    more = len(lines) - _SHOWN
    if more > 0:
        yield f"  …… 另有 {more:,} 项" if zh else f"  ... and {more:,} more"


def taken_lines(receipt: Receipt, language: Language) -> Iterator[str]:
    """What was taken, file by file, and what was masked."""
    zh = language == "zh"
    for one in receipt.taken:
        if zh:
            told = f"  {one.path}：取 {one.kept:,} 条，{one.outside:,} 条不在时间范围内，{one.undated:,} 条没有时间"
            told += f"；{one.broke}" if one.broke else ""
            yield told + ("；已达到上限，其余未取" if one.cut else "")
        else:
            told = f"  {one.path}: {one.kept:,} records taken, {one.outside:,} outside of the time, {one.undated:,} without a time"
            told += f"; {one.broke}" if one.broke else ""
            yield told + ("; the bound was reached, the rest was not taken" if one.cut else "")
    masked = ", ".join(f"{kind} {count:,}" for kind, count in receipt.masked.items())
    yield f"  {'已脱敏' if zh else 'masked'}: {masked or ('无' if zh else 'nothing')}"


def nothing_lines(receipt: Receipt, language: Language) -> Iterator[str]:
    """What to do where no record of that time was found."""
    zone = offset_text(timedelta(minutes=receipt.offset))
    if language == "zh":
        yield "这些文件中没有该时间范围内的记录，因此没有生成资料包，也没有发送任何内容，链接仍然有效。"
        yield f"日志中未注明时区的时间按 {zone} 解释；如果日志用的是其他时区，请指定后重新运行，例如 TZ=UTC 或 TZ=Asia/Shanghai。"
    else:
        yield "No record of that time is in these files, so no bundle was made and nothing was sent. The link stays good."
        yield (
            f"Times that name no zone were taken as {zone}; if the logs are written in another one, run it again with that, "
            "such as TZ=UTC or TZ=Asia/Shanghai."
        )


def command_line(link: str, key: str) -> str:
    """What a customer types."""
    return f"problem-snapshot bundle --collect '{link}' --desk-key {key}"


def needs_text(install: str | None) -> Text:
    """What the command needs; `install` is what gets it, where the desk says so."""
    if install:
        return Text(
            en="It needs Python 3.11 or newer and this program. Where it is not there yet, this brings it:",
            zh="需要 Python 3.11 或更高版本以及本程序；如尚未安装，请先运行：",
        )
    return Text(
        en="It needs Python 3.11 or newer and the program problem-snapshot; ask us how to get it.",
        zh="需要 Python 3.11 或更高版本以及 problem-snapshot 程序；获取方式请向我们询问。",
    )


def letter(manifest: Manifest, link: str, key: str, install: str | None) -> Text:
    """What the desk sends to the customer."""
    needs, how = needs_text(install), f"\n\n  {install}" if install else ""
    until = until_text(manifest)
    command = command_line(link, key)
    screen_en = f"\n\nTo look at it together: {manifest.screen}" if manifest.screen else ""
    screen_zh = f"\n\n如需共同查看屏幕：{manifest.screen}" if manifest.screen else ""
    paths = "\n".join(f"  {path}" for path in manifest.paths)
    return Text(
        en=f"To find the cause of ticket {manifest.ticket} we ask for your logs:\n{paths}\n{window_text(manifest)}\n\n"
        f"Run this on the machine that has them. It shows what it would read and asks you first; personal data is masked on your "
        f"machine.\n\n  {command}\n\n{needs.en}{how}\n\nWhat is asked, and the same to download: {link}\nGood until {until}.{screen_en}",
        zh=f"为查找工单 {manifest.ticket} 的原因，我们需要您的日志：\n{paths}\n{window_text(manifest)}\n\n"
        f"请在存有这些日志的机器上运行下面的命令。它会先显示将读取的内容并征求您的同意；个人数据会在您的机器上脱敏。\n\n  {command}\n\n{needs.zh}{how}\n\n"
        f"说明与下载：{link}\n有效期至 {until}。{screen_zh}",
    )
