"""The page in a browser: it loads, answers, asks nobody else, and is used by keys and by thumbs."""

import os
import shutil
import socket
from contextlib import contextmanager
from pathlib import Path

import pytest
from small_demo import CONFIG

from twhin_hf.demo.answers import Demo
from twhin_hf.demo.content import DemoContent
from twhin_hf.demo.opening import open_demo
from twhin_hf.demo.page import TITLE, demo_page, launch_options

CHROMIUM = shutil.which("chromium")
FLAGS = [
    *("--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run"),
    *("--disable-background-networking", "--disable-component-update", "--disable-sync"),
]
DESKTOP, PHONE = {"width": 1280, "height": 900}, {"width": 390, "height": 844}
EVIL = "</p><img src=x onerror=\"document.title='owned'\"><script>alert(1)</script>${1+1} {{1}}"
needs_browser = pytest.mark.skipif(not CHROMIUM, reason="no chromium to open the page with")


@contextmanager
def served(demo):
    """The address of a demo's page."""
    page = demo_page(demo)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    page.launch(
        server_name="127.0.0.1",
        server_port=port,
        prevent_thread_lock=True,
        quiet=True,
        **launch_options(),
    )
    try:
        yield f"http://127.0.0.1:{port}/"
    finally:
        page.close(verbose=False)


@pytest.fixture(scope="module")
def asked():
    """Hosts that this process looked up while the page was served."""
    return []


@pytest.fixture(scope="module")
def address(demo_folder, asked):
    look_up = socket.getaddrinfo

    def noted(host, *others, **more):
        asked.append(host)
        return look_up(host, *others, **more)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(socket, "getaddrinfo", noted)
        with served(open_demo(demo_folder)) as address:
            yield address


@pytest.fixture(scope="module")
def browser():
    if not CHROMIUM:
        pytest.skip("no chromium to open the page with")
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        opened = playwright.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        yield opened
        opened.close()


@pytest.fixture
def open_page(browser):
    """Opens an address; what went wrong is in `errors`, what was asked for in `requests`."""
    contexts, errors, requests = [], [], []

    def opened(address, viewport=DESKTOP, **more):
        context = browser.new_context(viewport=viewport, **more)
        contexts.append(context)
        page = context.new_page()
        page.on("console", lambda said: said.type == "error" and errors.append(said.text))
        page.on("pageerror", lambda error: errors.append(str(error)))
        page.on("request", lambda request: requests.append(request.url))
        page.goto(address)
        page.wait_for_selector("#post textarea, #post input")
        page.errors, page.requests = errors, requests
        return page

    yield opened
    for context in contexts:
        context.close()


def ask(page, text):
    page.locator("#post textarea, #post input").first.fill(text)
    page.locator("#post textarea, #post input").first.press("Enter")
    page.wait_for_selector(".answer .nearest li, .message")


def stays_inside(page):
    return page.evaluate("document.documentElement.scrollWidth <= window.innerWidth")


def test_it_loads_answers_and_asks_nobody_else(address, asked, open_page):
    page = open_page(address)
    assert page.title() == TITLE
    ask(page, "abc bcd 日本")
    for name in ("stock", "model"):
        assert page.locator(f".nearest .{name} li").count() == CONFIG.k
        assert page.locator(f".languages .{name} li").count() == 4
    assert "similarity" in page.locator(".nearest .model li").first.inner_text()
    assert page.locator(".hashtags .model li").first.inner_text().startswith("#topic")
    people = page.locator(".people").inner_text()
    assert "people the recommender expects" in people
    assert page.locator(".people ol > li").count() == 5
    frame = page.frame_locator(".map iframe")
    assert frame.locator("canvas#map").get_attribute("width") != "0"
    assert frame.locator("#colorings label").count() == 3
    assert stays_inside(page)
    assert page.errors == []
    outside = [url for url in page.requests if not url.startswith((address, "data:", "about:"))]
    assert outside == []
    assert {*asked} <= {"127.0.0.1", "localhost", "", None}


def test_examples_are_to_click(address, open_page, demo_folder):
    page = open_page(address)
    example = open_demo(demo_folder).content.settings["examples"][1]
    page.get_by_role("button", name=example[:20]).first.click()
    page.wait_for_selector(".answer .nearest li")
    assert page.locator("#post textarea, #post input").first.input_value() == example
    assert page.errors == []


def test_a_phone(address, open_page):
    page = open_page(address, PHONE, device_scale_factor=2, is_mobile=True, has_touch=True)
    assert stays_inside(page)
    ask(page, "abc bcd")
    assert stays_inside(page)
    boxes = [page.locator(f".nearest .{name}").bounding_box() for name in ("stock", "model")]
    assert boxes[0]["y"] + boxes[0]["height"] <= boxes[1]["y"]  # one below the other
    assert all(box["x"] >= 0 and box["x"] + box["width"] <= 390 for box in boxes)
    assert page.errors == []


def test_the_keyboard_alone(address, open_page):
    page = open_page(address)
    for _ in range(10):
        page.keyboard.press("Tab")
        if page.evaluate("!!document.activeElement.closest('#post')"):
            break
    page.keyboard.type("abc bcd")
    page.keyboard.press("Enter")
    page.wait_for_selector(".answer .nearest li")
    first = page.locator(".nearest .model li").first.inner_text()
    # And from there by Tab to the button and an example.
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.id || document.activeElement.innerText")
    for _ in range(6):
        if page.evaluate("document.activeElement.classList.contains('gallery-item')"):
            break
        page.keyboard.press("Tab")
    page.keyboard.press("Enter")
    page.wait_for_function(
        "first => document.querySelector('.nearest .model li')?.innerText !== first", arg=first
    )
    assert page.errors == []


def test_nothing_to_look_for_is_told(address, open_page):
    page = open_page(address)
    ask(page, "  ")
    assert page.locator(".message").inner_text() == "Write a post first."
    assert page.errors == []


@needs_browser
def test_texts_of_strangers_stay_texts(demo_folder, open_page):
    demo = open_demo(demo_folder)
    content = demo.content
    evil = DemoContent(**{**vars(content), "texts": [f"{EVIL} {row}" for row in range(240)]})
    with served(Demo(evil, demo._encoders)) as address:
        page = open_page(address)
        ask(page, EVIL)
        assert EVIL in page.locator(".nearest .model .text").first.inner_text()
        assert page.locator(".answer img, .answer script").count() == 0
        assert page.title() == TITLE
        assert page.errors == []


@pytest.mark.skipif("DEMO_SCREENSHOTS" not in os.environ, reason="writes pictures for the docs")
def test_screenshots(open_page):
    """`DEMO_SCREENSHOTS=runs/demo/demo`: the folder of a demo to show in docs/images."""
    images = Path(__file__).parents[2] / "docs" / "images"
    with served(open_demo(os.environ["DEMO_SCREENSHOTS"])) as address:
        for name, viewport, scheme, part in (
            ("demo", DESKTOP | {"height": 1720}, "light", ".demo-header"),
            ("demo-dark", DESKTOP | {"height": 1320}, "dark", ".people"),
            ("demo-phone", PHONE, "light", ".nearest"),
        ):
            page = open_page(address, viewport, color_scheme=scheme)
            page.locator(".gallery-item").nth(0).click()
            page.wait_for_selector(".answer .nearest li")
            page.locator(part).evaluate("part => part.scrollIntoView()")
            page.wait_for_timeout(2000)
            page.screenshot(path=images / f"{name}.png")
