"""The page in a real browser: it opens from a file, offline, without an error, and all its parts work."""

import time

import numpy as np
import pytest
from pymatgen.core import Structure

from repdiff.crystals.structure_files import read_structures

TABS = (
    "summary",
    "distributions",
    "representations",
    "elements",
    "symmetry",
    "reconstruction",
    "structures",
    "provenance",
)
pytestmark = pytest.mark.slow  # the browser is no child of the tests: its seconds are not counted
VISIBLE = "id => document.getElementById(id).offsetParent !== null"
COLOUR = "() => getComputedStyle(document.body).backgroundColor"
OVERFLOW = "() => document.documentElement.scrollWidth - document.documentElement.clientWidth"


@pytest.fixture
def opened(browser, page):
    """Open the page in a new offline window; what goes wrong in it fails the test in the end."""
    contexts, trouble = [], []

    def call(**settings):
        context = browser.new_context(offline=True, accept_downloads=True, **settings)
        contexts.append(context)
        tab = context.new_page()
        tab.set_default_timeout(20_000)
        tab.on("console", lambda message: trouble.append(message.text) if message.type == "error" else None)
        tab.on("pageerror", lambda error: trouble.append(str(error)))
        tab.on("requestfailed", lambda request: trouble.append(f"failed: {request.url}"))
        tab.on(
            "request",
            lambda request: (
                None if request.url.startswith(("file:", "blob:", "data:")) else trouble.append(request.url)
            ),
        )
        tab.on("dialog", lambda dialog: trouble.append(f"dialog: {dialog.message}"))
        tab.goto(page.as_uri())
        return tab

    yield call
    for context in contexts:
        context.close()
    assert trouble == []


def drawn(tab, name):
    """Wait until a plot is drawn, and return its root's box."""
    tab.wait_for_selector(f'[data-figure="{name}"] .main-svg')
    return tab.locator(f'[data-figure="{name}"]')


def test_the_page_opens_with_the_summary(opened, record_property):
    start = time.perf_counter()
    tab = opened()
    seconds = time.perf_counter() - start
    record_property("seconds_to_open", seconds)  # for the log; a slow machine is no failure

    assert tab.locator("h1").inner_text() == "few"
    assert tab.evaluate(VISIBLE, "summary")
    assert not tab.evaluate(VISIBLE, "structures")


def test_each_tab_shows_its_section_alone_and_draws_its_plots(opened):
    tab = opened()
    for name in TABS:
        tab.click(f"#tab-{name}")
        assert [other for other in TABS if tab.evaluate(VISIBLE, other)] == [name]
        assert tab.get_attribute(f"#tab-{name}", "aria-selected") == "true"
        for plot in tab.locator(f"#{name} .plot").all():
            plot.scroll_into_view_if_needed()
            plot.locator(".main-svg").first.wait_for()


def test_tabs_follow_the_keyboard_and_the_address(opened):
    tab = opened()
    tab.focus("#tab-summary")
    tab.keyboard.press("ArrowRight")
    assert tab.evaluate("() => document.activeElement.id") == "tab-distributions"
    assert tab.evaluate(VISIBLE, "distributions")
    tab.keyboard.press("End")
    assert tab.evaluate(VISIBLE, "provenance")
    assert tab.url.endswith("#provenance")
    tab.reload()
    assert tab.evaluate(VISIBLE, "provenance")


def test_a_metric_explains_itself_on_focus(opened):
    tab = opened()
    tab.locator("[data-tip]").first.focus()
    assert "0.5 Å" in tab.locator("#tip").inner_text()
    tab.keyboard.press("Escape")
    assert tab.locator("#tip").is_hidden()


def test_a_structure_opens_and_turns(opened):
    tab = opened()
    tab.click("#tab-structures")
    tab.locator(".card .open").first.click()
    tab.wait_for_selector("#view .gl-container canvas")
    assert (
        tab.evaluate("() => document.getElementById('view').data.filter(t => t.type === 'mesh3d').length")
        >= 1
    )
    camera = "() => JSON.stringify(document.getElementById('view')._fullLayout.scene._scene.getCamera().eye)"
    before = tab.evaluate(camera)
    box = tab.locator("#view").bounding_box()
    x, y = box["x"] + box["width"] / 2, box["y"] + box["height"] / 2
    tab.mouse.move(x, y)
    tab.mouse.down()
    tab.mouse.move(x + 80, y + 30, steps=8)
    tab.mouse.up()
    tab.wait_for_function(f"before => ({camera})() !== before", arg=before)
    turned = tab.evaluate(camera)
    tab.click('[data-view="a"]')
    tab.wait_for_function(f"before => ({camera})() !== before", arg=turned)
    tab.keyboard.press("Escape")
    assert not tab.evaluate("() => document.getElementById('viewer').open")
    assert tab.evaluate("() => document.activeElement.className") == "open"


def test_the_downloaded_cif_is_the_crystal(opened, report_workspace, tmp_path):
    tab = opened()
    tab.click("#tab-structures")
    tab.fill("#search", "gen-00")
    tab.locator(".card:not([hidden]) .open").first.click()
    with tab.expect_download() as waiting:
        tab.click("#cif")
    target = tmp_path / "got.cif"
    waiting.value.save_as(target)
    assert waiting.value.suggested_filename == "gen-00_NaF.cif"
    crystal = next(c for c in read_structures(report_workspace / "reconstruct" / "few") if c.id == "gen-00")
    read = Structure.from_file(target)
    assert sorted(site.specie.Z for site in read) == sorted(crystal.atomic_numbers.tolist())
    lengths = np.linalg.norm(crystal.lattice, axis=1)
    np.testing.assert_allclose(sorted(read.lattice.abc), sorted(lengths), atol=1e-5)
    assert read.volume == pytest.approx(crystal.volume, rel=1e-6)


def test_each_card_saves_and_copies_its_crystal_at_one_click(opened, report_workspace, tmp_path):
    tab = opened(permissions=["clipboard-read", "clipboard-write"])
    tab.click("#tab-structures")
    tab.fill("#search", "gen-02")
    card = tab.locator(".card:not([hidden])").first
    with tab.expect_download() as waiting:
        card.locator('[data-cif="save"]').click()
    target = tmp_path / "got.cif"
    waiting.value.save_as(target)
    crystal = next(c for c in read_structures(report_workspace / "reconstruct" / "few") if c.id == "gen-02")
    assert Structure.from_file(target).volume == pytest.approx(crystal.volume, rel=1e-6)
    card.locator('[data-cif="copy"]').click()
    tab.wait_for_function("() => document.getElementById('copied').textContent.includes('copied')")
    assert tab.evaluate("() => navigator.clipboard.readText()") == target.read_text()
    assert not tab.evaluate("() => document.getElementById('viewer').open")


def test_a_cif_is_copied_where_the_clipboard_is_kept_from_pages(opened):
    tab = opened()
    tab.click("#tab-structures")
    tab.evaluate(
        "() => { Object.defineProperty(navigator, 'clipboard', {value: undefined});"
        " document.addEventListener('copy', () => { window.taken = document.activeElement.value; }); }"
    )
    tab.locator(".card .open").first.click()
    tab.click("#copy")
    tab.wait_for_function("() => document.getElementById('copy').textContent === 'Copied'")
    assert tab.evaluate("() => window.taken").startswith("# generated using pymatgen")


def test_the_gallery_is_searched_filtered_and_sorted(opened):
    tab = opened()
    tab.click("#tab-structures")
    shown = tab.locator(".card:not([hidden])")
    assert shown.count() == 20
    tab.select_option("#show", "invalid")
    assert shown.count() == 1
    tab.select_option("#show", "")
    tab.fill("#search", "ti")
    formulas = shown.locator("h3").all_inner_texts()
    assert formulas
    assert all("Ti" in formula for formula in formulas)
    tab.fill("#search", "nothing like it")
    assert tab.locator("#none-shown").is_visible()
    tab.fill("#search", "")
    tab.select_option("#sort", "loss:down")
    losses = [float(text) for text in tab.locator(".card dl div:first-child dd").all_inner_texts()]
    assert losses == sorted(losses, reverse=True)


def test_a_name_with_markup_is_shown_as_text(opened):
    tab = opened()
    tab.click("#tab-structures")
    tab.fill("#search", "alert(1)")
    tab.locator(".card:not([hidden]) .open").first.click()
    assert "<script>alert(1)</script>" in tab.locator("#facts").inner_text()


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_page_and_plots_follow_the_colour_scheme(opened, scheme):
    tab = opened(color_scheme=scheme)
    tab.click("#tab-distributions")
    drawn(tab, "density")
    brightness = sum(int(part) for part in tab.evaluate(COLOUR)[4:-1].split(",")) / 3
    text = tab.evaluate("() => document.querySelector('[data-figure=density]').layout.font.color")
    assert (brightness > 128) == (scheme == "light")
    assert (int(text[1:3], 16) > 128) == (scheme == "dark")


def test_plots_change_when_the_colour_scheme_does(opened):
    tab = opened(color_scheme="light")
    tab.click("#tab-distributions")
    drawn(tab, "density")
    tab.emulate_media(color_scheme="dark")
    tab.wait_for_function(
        "() => document.querySelector('[data-figure=density]').layout.font.color === '#e6e9ed'"
    )


def test_a_phone_never_scrolls_sideways(opened):
    tab = opened(viewport={"width": 380, "height": 760}, is_mobile=True, has_touch=True)
    for name in TABS:
        tab.click(f"#tab-{name}")
        for plot in tab.locator(f"#{name} .plot").all():
            plot.scroll_into_view_if_needed()
            plot.locator(".main-svg").first.wait_for()
        assert tab.evaluate(OVERFLOW) <= 0, name
    tab.click("#tab-structures")
    tab.locator(".card .open").first.click()
    tab.wait_for_selector("#view canvas")
    assert (
        tab.evaluate(
            "() => { const d = document.getElementById('viewer'); return d.scrollWidth - d.clientWidth; }"
        )
        <= 0
    )


def test_print_shows_every_section_white_with_all_plots(opened):
    tab = opened(color_scheme="dark", viewport={"width": 720, "height": 900})
    tab.emulate_media(media="print")
    tab.wait_for_function(
        "() => [...document.querySelectorAll('.plot')].every(p => p.querySelector('.main-svg'))"
    )
    assert [name for name in TABS if tab.evaluate(VISIBLE, name)] == list(TABS)
    assert tab.evaluate(COLOUR) == "rgb(255, 255, 255)"
    assert tab.evaluate("() => [...document.querySelectorAll('details')].every(d => d.open)")
    assert tab.evaluate(OVERFLOW) <= 0
    assert tab.locator("[role=tablist]").is_hidden()
    tab.emulate_media(media="screen")
    tab.wait_for_function("() => !document.body.classList.contains('paper')")
    assert [name for name in TABS if tab.evaluate(VISIBLE, name)] == ["summary"]


def test_without_webgl_a_structure_is_still_drawn(opened, browser, page):
    context = browser.new_context(offline=True)
    context.add_init_script("HTMLCanvasElement.prototype.getContext = () => null")
    tab = context.new_page()
    tab.goto(page.as_uri() + "#structures")
    tab.locator(".card .open").first.click()
    assert tab.locator("#view svg.still circle").count() > 1
    context.close()
