"""The page of `digits serve` in real Chromium: strokes by mouse, finger and keys, what is read, what
is said when things go wrong.

Screenshots go to target/page-*.png, to be looked at.
"""

import base64
import io
import shutil

import pytest
from conftest import ROOT, serving
from PIL import Image, ImageDraw
from playwright.sync_api import expect, sync_playwright

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
SHOTS = ROOT / "target"

# Strokes as people write them, in units of a square of 100.
CURVES = {
    0: [[(50, 5), (25, 15), (15, 50), (25, 85), (50, 95), (75, 85), (85, 50), (75, 15), (50, 5)]],
    1: [[(52, 5), (50, 35), (48, 65), (46, 95)]],
    2: [[(20, 25), (30, 8), (55, 4), (75, 18), (72, 40), (50, 65), (18, 93), (50, 91), (85, 92)]],
    3: [[(20, 15), (45, 4), (72, 15), (70, 35), (45, 47), (72, 57), (80, 78), (55, 96), (18, 86)]],
    4: [[(38, 5), (28, 30), (18, 55), (50, 56), (85, 53)], [(66, 10), (63, 55), (60, 96)]],
    5: [[(78, 6), (30, 8), (26, 42), (50, 38), (74, 50), (78, 75), (52, 95), (20, 86)]],
    6: [[(66, 4), (38, 28), (22, 60), (30, 88), (55, 95), (74, 80), (68, 58), (45, 52), (26, 66)]],
    7: [[(18, 10), (50, 9), (82, 9), (62, 45), (46, 95)]],
    8: [[(72, 18), (48, 4), (26, 20), (46, 46), (74, 70), (54, 95), (26, 78), (44, 52), (70, 28), (72, 18)]],
    9: [[(74, 24), (52, 6), (28, 20), (32, 44), (58, 46), (74, 26), (72, 60), (64, 96)]],
}


@pytest.fixture(scope="session")
def chromium():
    assert CHROMIUM, "Chromium is missing: apt-get install chromium"
    flags = """--no-sandbox --disable-gpu --disable-quic --no-first-run
        --disable-background-networking --disable-component-update --disable-sync"""
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=flags.split())
        yield browser
        browser.close()


@pytest.fixture
def visit(chromium, server):
    """Opens the page as some kind of visitor; nothing may go wrong behind the page's back."""
    contexts = []
    wrongs = []

    def visit(address=server.address, expected_wrongs=(), **options):
        options = {"viewport": {"width": 1200, "height": 800}, "locale": "en-GB"} | options
        context = chromium.new_context(**options)
        contexts.append(context)
        page = context.new_page()
        page.on("pageerror", lambda error: wrongs.append(str(error)))
        page.on(
            "console",
            lambda message: message.type in ("error", "warning")
            and not any(known in message.text for known in expected_wrongs)
            and wrongs.append(message.text),
        )
        page.on(
            "request",
            lambda request: request.url.startswith(address) or wrongs.append(request.url),
        )
        page.goto(address)
        return page

    yield visit
    for context in contexts:
        context.close()
    assert not wrongs


def smooth(points):
    """Points along a curve through `points`, by Catmull and Rom."""
    padded = [points[0], *points, points[-1]]
    for a, b, c, d in zip(padded, padded[1:], padded[2:], padded[3:]):
        for step in range(6):
            t = step / 6
            yield tuple(
                0.5 * (2 * q + (r - p) * t + (2 * p - 5 * q + 4 * r - s) * t**2 + (3 * q - p - 3 * r + s) * t**3)
                for p, q, r, s in zip(a, b, c, d)
            )
    yield points[-1]


def strokes(digit, left, top, size):
    for stroke in CURVES[digit]:
        yield [(left + x * size / 100, top + y * size / 100) for x, y in smooth(stroke)]


def write(page, digit, left=0.3, top=0.15, size=0.7):
    """Writes a digit by mouse; place and size are shares of the paper."""
    box = page.locator("#paper").bounding_box()
    scale = box["height"]
    x, y = box["x"] + left * box["width"], box["y"] + top * box["height"]
    for stroke in strokes(digit, x, y, size * scale):
        page.mouse.move(*stroke[0])
        page.mouse.down()
        for point in stroke[1:]:
            page.mouse.move(*point)
        page.mouse.up()


def reads(page, text):
    """Waits until the page reads this."""
    digits = page.locator("#text .digit")
    expect(digits).to_have_text(list(text), timeout=10_000)


def watch(page, selector):
    """Keeps what an element says from now on, of a reading its digits; gives a function that tells all of it."""
    page.evaluate(
        """(selector) => {
            const element = document.querySelector(selector);
            const said = ((window.said ??= {})[selector] = []);
            const text = ({ textContent }) => textContent;
            new MutationObserver(() => {
                const digits = [...element.querySelectorAll(".digit")].map(text).join("");
                said.push(digits || text(element));
            }).observe(element, { childList: true, characterData: true, subtree: true });
        }""",
        selector,
    )
    return lambda: page.evaluate("(selector) => window.said[selector]", selector)


def shot(page, name):
    page.wait_for_timeout(300)
    page.screenshot(path=SHOTS / f"page-{name}.png")


def test_all_ten_digits_are_read_as_they_are_written(visit):
    page = visit()
    for digit in range(10):
        write(page, digit)
        reads(page, str(digit))
        name = page.locator("#bars .top .name")
        expect(name).to_have_text(str(digit))
        page.get_by_role("button", name="Clear").click()
        expect(page.locator("#text")).to_have_text("Nothing is written yet")


def test_probabilities_move_while_the_stroke_is_still_drawn(visit):
    page = visit()
    box = page.locator("#paper").bounding_box()
    [stroke] = strokes(7, box["x"] + 150, box["y"] + 60, 380)
    page.mouse.move(*stroke[0])
    page.mouse.down()
    for point in stroke[1:]:
        page.mouse.move(*point)
    # The button is still down.
    reads(page, "7")
    page.mouse.up()
    times = page.evaluate(
        "performance.getEntriesByType('resource').filter(e => e.name.includes('digits:read')).map(e => e.duration)"
    )
    assert len(times) > 1, "only the end of the stroke was read"


def test_what_the_network_sees_is_shown(visit):
    page = visit()
    write(page, 8)
    reads(page, "8")
    shown = page.evaluate(
        """() => ["seen", "maps"].map((id) => {
            const canvas = document.getElementById(id);
            const { data } = canvas.getContext("2d").getImageData(0, 0, canvas.width, canvas.height);
            const inked = data.filter((_, i) => i % 4 === 3 && data[i] > 100).length;
            return [canvas.width, canvas.height, inked];
        })"""
    )
    assert shown[0][:2] == [28, 28] and 60 < shown[0][2] < 300
    # The fast network has 8 maps of 24 x 24.
    assert shown[1][:2] == [4 * 26 - 2, 2 * 26 - 2] and shown[1][2] > 50
    expect(page.locator("#about")).to_contain_text("fast network, version 1")
    shot(page, "desktop")


def test_several_digits_are_read_and_looked_into(visit):
    page = visit()
    for i, digit in enumerate([7, 0, 4]):
        write(page, digit, left=0.06 + 0.31 * i, top=0.3, size=0.38)
    reads(page, "704")
    buttons = page.locator("#text button")
    expect(buttons.nth(2)).to_have_attribute("aria-pressed", "true")
    buttons.first.click()
    expect(buttons.first).to_have_attribute("aria-pressed", "true")
    expect(page.locator("#bars .top .name")).to_have_text("7")
    shot(page, "several")
    # The focus stays near where it was when digits go.
    buttons.last.focus()
    for _ in CURVES[4]:
        page.keyboard.press("Control+z")
    reads(page, "70")
    expect(buttons.last).to_be_focused()


def test_undo_and_clear(visit):
    page = visit()
    undo, clear = (page.get_by_role("button", name=name) for name in ["Undo", "Clear"])
    expect(undo).to_be_disabled()
    write(page, 1, left=0.05)
    write(page, 7, left=0.4)
    reads(page, "17")
    page.keyboard.press("Control+z")
    reads(page, "1")
    clear.click()
    expect(page.locator("#text")).to_have_text("Nothing is written yet")
    undo.click()
    reads(page, "1")
    undo.press("Enter")
    expect(clear).to_be_disabled()
    # The button that has nothing left to do keeps the focus.
    expect(undo).to_be_disabled()
    expect(undo).to_be_focused()
    undo.press("Enter")
    expect(page.locator("#text")).to_have_text("Nothing is written yet")


def test_a_digit_is_written_by_keys_alone(visit):
    page = visit()
    page.keyboard.press("Tab")
    for _ in range(10):
        if page.evaluate("document.activeElement.id") == "paper":
            break
        page.keyboard.press("Tab")
    said = watch(page, "#status")
    for key, times in [("ArrowUp", 20), (" ", 1), ("ArrowDown", 40)]:
        for _ in range(times):
            page.keyboard.press(key)
    shot(page, "keys")
    page.keyboard.press(" ")
    reads(page, "1")
    expect(page.locator("#status")).to_have_text("It reads 1", timeout=5000)
    # The pen that keys move is not seen by everybody.
    pen = [text for text in said() if text.startswith("Pen")]
    assert pen == ["Pen down", "Pen up"]
    page.keyboard.press("Delete")
    expect(page.locator("#text")).to_have_text("Nothing is written yet")


def finger(page, points):
    """Moves a finger along points."""
    client = page.context.new_cdp_session(page)
    touch = lambda kind, points: client.send(
        "Input.dispatchTouchEvent",
        {"type": kind, "touchPoints": [{"x": x, "y": y} for x, y in points]},
    )
    touch("touchStart", points[:1])
    for point in points[1:]:
        touch("touchMove", [point])
    touch("touchEnd", [])


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_on_a_phone_a_finger_writes_and_the_page_stays(visit, scheme):
    page = visit(
        viewport={"width": 375, "height": 667},
        device_scale_factor=2,
        has_touch=True,
        is_mobile=True,
        color_scheme=scheme,
    )
    box = page.locator("#paper").bounding_box()
    assert box["width"] > 330
    for stroke in strokes(3, box["x"] + 80, box["y"] + 30, 200):
        finger(page, stroke)
    reads(page, "3")
    assert page.evaluate("scrollY") == 0
    wide = page.evaluate("document.documentElement.scrollWidth")
    assert wide == 375, "the page scrolls sideways"
    expect(page.get_by_role("button", name="Take photo")).to_be_visible()
    # The reading is in sight while the finger writes.
    assert page.locator("#text").bounding_box()["y"] < 600
    shot(page, f"phone-{scheme}")
    page.mouse.wheel(0, 600)
    shot(page, f"phone-{scheme}-below")


def test_dark_theme(visit):
    page = visit(color_scheme="dark")
    write(page, 5)
    reads(page, "5")
    shot(page, "dark")


def test_chinese_by_preference_and_by_choice(visit):
    page = visit(locale="zh-CN")
    expect(page.get_by_role("button", name="清除")).to_be_visible()
    assert page.evaluate("document.documentElement.lang") == "zh-CN"
    write(page, 2)
    reads(page, "2")
    shot(page, "chinese")
    page.get_by_role("button", name="English").click()
    expect(page.get_by_role("button", name="Clear")).to_be_visible()
    page.reload()
    expect(page.get_by_role("button", name="Clear")).to_be_visible()


def sheet(kind="PNG", digits=(2, 0, 7)):
    """An image file of digits, dark on gray paper."""
    image = Image.new("RGB", [900, 500], (205, 200, 190))
    draw = ImageDraw.Draw(image)
    for i, digit in enumerate(digits):
        for stroke in strokes(digit, 80 + 270 * i, 130, 220):
            draw.line(stroke, (40, 40, 70), 22, "curve")
            for x, y in stroke:
                draw.ellipse([x - 11, y - 11, x + 11, y + 11], (40, 40, 70))
    out = io.BytesIO()
    image.save(out, kind)
    return out.getvalue()


DROP = """([data, type, event]) => {
    const bytes = Uint8Array.from(atob(data), (c) => c.charCodeAt(0));
    const transfer = new DataTransfer();
    transfer.items.add(new File([bytes], "image", { type }));
    const init = { bubbles: true, cancelable: true };
    document.dispatchEvent(event === "paste"
        ? new ClipboardEvent("paste", { ...init, clipboardData: transfer })
        : new DragEvent("drop", { ...init, dataTransfer: transfer }));
}"""


def test_images_are_opened_dropped_and_pasted(visit, tmp_path):
    page = visit()
    (tmp_path / "sheet.png").write_bytes(sheet())
    with page.expect_file_chooser() as chooser:
        page.get_by_role("button", name="Open image").click()
    chooser.value.set_files(tmp_path / "sheet.png")
    reads(page, "207")
    shot(page, "image")
    for event in ["drop", "paste"]:
        page.get_by_role("button", name="Clear").click()
        expect(page.locator("#text")).to_have_text("Nothing is written yet")
        page.evaluate(DROP, [base64.b64encode(sheet("JPEG")).decode(), "image/jpeg", event])
        reads(page, "207")
    # One that the browser cannot show is read by the server all the same.
    page.get_by_role("button", name="Clear").click()
    page.evaluate(DROP, [base64.b64encode(sheet("TIFF")).decode(), "image/tiff", "drop"])
    reads(page, "207")
    shot(page, "tiff")
    page.locator("#paper").press("Delete")
    expect(page.locator("#text")).to_have_text("Nothing is written yet")


def test_what_is_no_image_is_told(visit):
    page = visit(expected_wrongs=["400"])
    write(page, 7)
    reads(page, "7")
    page.evaluate(DROP, ["bm8gaW1hZ2U=", "image/png", "drop"])
    expect(page.get_by_role("alert")).to_contain_text("This cannot be read: not an image")
    # What was read before is gone, and the other language is there at once.
    expect(page.locator("#text")).to_have_text("")
    page.get_by_role("button", name="中文").click()
    expect(page.get_by_role("alert")).to_contain_text("无法识别")
    page.get_by_role("button", name="English").click()
    shot(page, "no-image")
    write(page, 1)
    reads(page, "1")
    expect(page.get_by_role("alert")).to_be_hidden()


def test_a_server_that_is_gone_is_told_and_waited_for(visit, fast_model):
    with serving(fast_model) as server:
        page = visit(server.address, expected_wrongs=["ERR_CONNECTION_REFUSED"])
        write(page, 1, left=0.05)
        reads(page, "1")
        address = server.address
    write(page, 7, left=0.4)
    expect(page.get_by_role("alert")).to_contain_text("The server does not answer.")
    shot(page, "server-gone")
    with serving(fast_model, address=address.removeprefix("http://")):
        reads(page, "17")
        expect(page.get_by_role("alert")).to_be_hidden()


def test_what_is_older_never_overtakes(visit):
    page = visit()
    # The first image's answer is held back until the second image is there.
    held = []
    hold = lambda route: held.append(route) if not held else route.continue_()
    page.route("**/v1/digits:read*", hold)
    drop = lambda digits: page.evaluate(
        DROP, [base64.b64encode(sheet(digits=digits)).decode(), "image/png", "drop"]
    )
    drop([2, 0, 7])
    for _ in range(100):
        if held:
            break
        page.wait_for_timeout(50)
    assert held, "nothing was asked"
    said = watch(page, "#text")
    drop([5])
    expect(page.locator("#text")).to_have_text("")
    held[0].continue_()
    assert "207" in held[0].request.response().text()
    reads(page, "5")
    page.wait_for_timeout(500)
    # Not for a moment either.
    assert set(said()) == {"", "5"}
    # Of two images the later one stays, even if it is decoded first.
    page.evaluate(
        """() => {
            const decode = window.createImageBitmap;
            let first = true;
            window.createImageBitmap = async (...wanted) => {
                const late = first;
                first = false;
                if (late) await new Promise((resolve) => setTimeout(resolve, 1000));
                return decode(...wanted);
            };
        }"""
    )
    drop([2, 0, 7])
    drop([1])
    reads(page, "1")
    page.wait_for_timeout(1500)
    reads(page, "1")


def test_nothing_there_is_an_answer(visit):
    page = visit()
    blank = io.BytesIO()
    Image.new("L", [300, 200], 255).save(blank, "PNG")
    page.evaluate(DROP, [base64.b64encode(blank.getvalue()).decode(), "image/png", "drop"])
    expect(page.locator("#text")).to_have_text("No digit here")


def test_everything_has_a_name(visit):
    """What a screen reader would say: no control without a name, no image without one."""
    page = visit()
    write(page, 4)
    reads(page, "4")
    nameless = page.evaluate(
        """() => [...document.querySelectorAll("button, canvas:not([aria-hidden]), [role]")]
            .filter((e) => !e.matches("[role=status], [role=alert]"))
            .filter((e) => !(e.getAttribute("aria-label") || e.textContent.trim()))
            .map((e) => e.outerHTML)"""
    )
    assert not nameless
    # What has no role cannot be given a name.
    named = page.evaluate(
        "() => [...document.querySelectorAll('span[aria-label], div[aria-label]:not([role]), p[aria-label]')].length"
    )
    assert named == 0
    expect(page.get_by_role("listitem").nth(4)).to_contain_text("4: ")
    expect(page.get_by_role("button", name="4, ")).to_be_visible()
