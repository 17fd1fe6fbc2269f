"""The questions' page in a real Chromium: both languages, by keyboard alone, scripts off, and as a screen reader hears it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser, Page, sync_playwright

from tests.intake_samples import ORDER, Asking, asking, png, unnamed

pytestmark = pytest.mark.browser
PHONE = {"width": 390, "height": 844}
SAID = {
    "en": {
        "order": "1. What is the order number?",
        "when": "2. When did it happen?",
        "picture": "3. Do you have a picture of the message that was shown?",
        "steps": "4. What did you do, step by step, until it happened?",
        "date": "Date",
        "time": "Time",
        "zone": "Time zone",
        "send": "Send answers",
        "errors": "Please correct this:",
        "done": "Thank you. Your answers were received, and your request is being looked at again.",
        "lang": "en",
    },
    "zh": {
        "order": "1. 订单号是多少？",
        "when": "2. 什么时候发生的？",
        "picture": "3. 能否提供当时提示信息的截图？",
        "steps": "4. 出现问题前您依次做了哪些操作？",
        "date": "日期",
        "time": "时间",
        "zone": "时区",
        "send": "提交",
        "errors": "请更正以下内容：",
        "done": "谢谢，已收到您的答复，我们正在重新核查。",
        "lang": "zh-CN",
    },
}
LANGUAGES = sorted(SAID)


@pytest.fixture(scope="module")
def service(tmp_path_factory) -> Iterator[Asking]:
    folder: Path = tmp_path_factory.mktemp("browser")
    with asking(f"sqlite:///{folder}/service.sqlite", folder) as found:
        yield found


@pytest.fixture(scope="module")
def links(service) -> dict[str, str]:
    """A link in each language."""
    return {language: service.take(unnamed(language, f"T-{language}")) for language in LANGUAGES}


@pytest.fixture(scope="module")
def on_page(chromium: str) -> Iterator[Callable[..., Any]]:
    """Does something on a page. Playwright keeps an event loop, which tests of other files must not find in their thread."""
    with ThreadPoolExecutor(1) as pool:
        started = pool.submit(lambda: sync_playwright().start()).result()
        browser: Browser = pool.submit(
            lambda: started.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
        ).result()

        def do(link: str, work: Callable[[Page], Any], **given: Any) -> Any:
            def done() -> Any:
                context = browser.new_context(**({"java_script_enabled": False, "viewport": PHONE} | given))
                try:
                    page = context.new_page()
                    page.goto(link)
                    return work(page)
                finally:
                    context.close()

            return pool.submit(done).result(timeout=100)

        yield do
        pool.submit(browser.close).result()
        pool.submit(started.stop).result()


@pytest.mark.parametrize("language", LANGUAGES)
def test_a_screen_reader_hears_every_question_with_its_reason(on_page, links, language):
    said = SAID[language]

    def heard(page: Page) -> tuple[str, list[str], str]:
        inputs = page.locator("input, textarea, select").all()
        return page.locator("body").aria_snapshot(), [one.get_attribute("id") or "" for one in inputs], page.content()

    tree, ids, html = on_page(links[language], heard)
    assert f'lang="{said["lang"]}"' in html
    for name in (said["order"], said["steps"], said["date"], said["time"]):
        assert f'- textbox "{name}"' in tree
    assert f'- group "{said["when"]}"' in tree
    assert f'- combobox "{said["zone"]}"' in tree
    assert f'- button "{said["picture"]}"' in tree
    assert f'- button "{said["send"]}"' in tree
    assert tree.count("heading") == 1
    assert len(ids) == len(set(ids)) == 6
    # What describes an input is there, and says why.
    for one in ("order_number", "screenshot", "operation_steps"):
        assert f'aria-describedby="why-{one} hint-{one}"' in html
        assert f'id="why-{one}"' in html


@pytest.mark.parametrize("language", LANGUAGES)
def test_by_keyboard_alone_an_error_is_heard_corrected_and_sent(on_page, service, language):
    """Tab goes through the page in reading order; what is wrong takes the focus, and its link leads to the input."""
    said = SAID[language]
    ticket = f"T-keys-{language}"
    link = service.take(unnamed(language, ticket))

    def typed(page: Page) -> dict[str, Any]:
        found: dict[str, Any] = {"order": []}

        def focus(attribute: str = "id") -> str:
            # The picker inside a date's input is no `:focus` of its own.
            return str(page.evaluate(f"document.activeElement.getAttribute('{attribute}')"))

        # The link to the other language comes first.
        page.keyboard.press("Tab")
        page.keyboard.press("Tab")
        for _ in range(30):
            if (at := focus()) not in found["order"]:
                found["order"].append(at)
            if at == "order_number":
                page.keyboard.type("!")
            if focus("type") == "submit":
                break
            page.keyboard.press("Tab")
        with page.expect_navigation():
            page.keyboard.press("Enter")
        found["title"] = page.title()
        found["role"] = focus("role")
        found["alert"] = page.get_by_role("alert").inner_text()
        page.keyboard.press("Tab")
        page.keyboard.press("Enter")
        found["at"] = page.url.rpartition("#")[2]
        wrong = page.locator("#order_number")
        found["invalid"] = wrong.get_attribute("aria-invalid")
        found["told"] = page.locator("#error-order_number").inner_text()
        # Following a link within the page puts the place to go on from there.
        page.keyboard.press("Tab")
        page.keyboard.press("Shift+Tab")
        if focus() != "order_number":
            wrong.focus()
        page.keyboard.press("Control+A")
        page.keyboard.type(ORDER)
        with page.expect_navigation():
            page.keyboard.press("Enter")
        found["done"] = page.get_by_role("status").inner_text()
        found["focus"] = focus("role")
        return found

    found = on_page(link, typed)
    ids = [one for one in found["order"] if one != "None"]
    assert ids == ["order_number", "occurred_at-date", "occurred_at-time", "occurred_at-zone", "screenshot", "operation_steps"]  # fmt: skip
    assert found["title"].startswith(("Error", "有误"))
    assert found["role"] == "alert"
    assert said["errors"] in found["alert"]
    assert (found["at"], found["invalid"]) == ("order_number", "true")
    assert "SO20261051915051" in found["told"]
    assert found["done"] == said["done"]
    assert found["focus"] == "status"
    service.hook.settled()
    assert service.hook.bench.store.newest(ticket).scope.focus_orders == [ORDER]


def test_a_picture_and_a_moment_are_sent_without_scripts(on_page, service):
    link = service.take(unnamed("en", "T-picture"))

    def sent(page: Page) -> str:
        page.get_by_label("Date").fill("2026-09-26")
        page.get_by_label("Time", exact=True).fill("11:41")
        page.get_by_label("Time zone").select_option("+09:00")
        picture = {"name": "shot.png", "mimeType": "image/png", "buffer": png()}
        page.get_by_label("Do you have a picture").set_input_files(picture)
        page.get_by_role("button", name="Send answers").click()
        return str(page.get_by_role("status").inner_text())

    assert on_page(link, sent) == SAID["en"]["done"]
    service.hook.settled()
    held = service.hook.bench.asking.replies.held("desk", "T-picture")
    assert held.answers == {"occurred_at": "2026-09-26T11:41:00+09:00", "screenshot": "received"}
    assert [one.media_type for one in held.pictures] == ["image/png"]


@pytest.mark.parametrize("language", LANGUAGES)
@pytest.mark.parametrize("wrong", [False, True], ids=["asked", "wrong"])
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_axe_finds_nothing_against_the_page(on_page, links, language, wrong, scheme):
    """WCAG 2 A and AA: contrast, names, languages, landmarks. axe itself needs scripts, and the page has none."""
    from axe_playwright_python.sync_playwright import Axe

    def looked(page: Page) -> tuple[int, str]:
        if wrong:
            page.locator("#order_number").fill("!")
            page.locator("button[type=submit]").click()
        result = Axe().run(page)
        return result.violations_count, result.generate_report()

    count, report = on_page(links[language], looked, java_script_enabled=True, bypass_csp=True, color_scheme=scheme)
    assert count == 0, report


@pytest.mark.parametrize("language", LANGUAGES)
def test_axe_finds_nothing_against_the_page_of_thanks_and_that_of_refusal(on_page, links, language):
    from axe_playwright_python.sync_playwright import Axe

    def looked(page: Page) -> tuple[int, str, str]:
        result = Axe().run(page)
        return result.violations_count, result.generate_report(), page.locator("main").aria_snapshot()

    given = {"java_script_enabled": True, "bypass_csp": True}
    count, report, tree = on_page(links[language] + "&sent=1", looked, **given)
    assert count == 0, report
    assert "- status" in tree
    assert "textbox" not in tree
    count, report, tree = on_page(f"{links[language]}x&lang={language}", looked, **given)
    assert count == 0, report
    assert "此链接无效" in tree
    assert "This link is not valid" in tree


@pytest.mark.parametrize("language", LANGUAGES)
@pytest.mark.parametrize("width", [320, 390, 1280])
def test_every_target_is_large_enough_and_nothing_sticks_out(on_page, links, language, width):
    """44 by 44 pixels at least (WCAG 2.5.5), at the width of a small phone as on a desk."""

    def measured(page: Page) -> tuple[list[Any], float]:
        targets = page.locator("a, input, select, textarea, button").all()
        boxes = [one.bounding_box() for one in targets]
        wide = page.evaluate("document.documentElement.scrollWidth")
        return boxes, wide

    view = {"width": width, "height": 800}
    boxes, wide = on_page(links[language], measured, viewport=view, java_script_enabled=True)
    assert len(boxes) == 8
    assert all(box["width"] >= 44 and box["height"] >= 44 for box in boxes)
    assert wide <= width


def test_the_other_language_is_one_link_away(on_page, links):
    def turned(page: Page) -> tuple[str, str]:
        page.get_by_role("link", name="中文").click()
        return str(page.locator("html").get_attribute("lang")), page.locator("h1").inner_text()

    assert on_page(links["en"], turned) == ("zh-CN", "关于您的工单，请补充几项信息")


def test_a_value_to_be_confirmed_is_shown_with_its_doubt(on_page, service):
    """A number that is in no record: shown, and asked about."""
    ticket = replace(unnamed("en", "T-doubt"), description="Something is wrong with order SO20260000000001.")
    link = service.take(ticket)

    def read(page: Page) -> tuple[str, str]:
        return page.locator("#order_number").input_value(), page.locator("#doubt-order_number").inner_text()

    assert on_page(link, read) == ("SO20260000000001", "We could not find this number. Please check it.")
