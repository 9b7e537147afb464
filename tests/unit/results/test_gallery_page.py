"""The gallery in a real browser: filters, search, keys, addresses, groups, frames, hostile texts, and its speed."""

import base64
import json
import random
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.support.browser import CHROMIUM, Browser, browser
from tests.support.gallery_run import gallery_inputs, use_store
from tests.support.scored_run import BENCHMARKS, change, predictions_of, score_one
from vidreason.results.gallery.answers import BITS
from vidreason.results.gallery.write import ASSETS, make_gallery, script_of
from vidreason.results.page import render
from vidreason.results.registry import TEMPLATES
from vidreason.results.report import make_report

pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="there is no Chromium: apt-get install chromium")

HOSTILE = (
    '<script>document.title = "taken"</script><img src="https://evil.example/x" onerror="alert(1)">\u202e\u2028 =1+1 '
)
LONG = "a" * 1_000_000
DONE = "document.documentElement.dataset.turn && vidreason.stats.first"
ROWS = "[...document.querySelectorAll('.row')].sort((a, b) => a.id.slice(4) - b.id.slice(4))"


@pytest.fixture(scope="module")
def pages(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Browser, Path]]:
    """A browser, and a gallery with one hostile answer of R1, to the question mlvu-7."""
    root = tmp_path_factory.mktemp("gallery")
    with pytest.MonkeyPatch.context() as patch, browser(root / "profile") as page:
        use_store(patch)
        inputs = gallery_inputs(root)
        answers = change(predictions_of("r1", "mlvu"), 7, text=f"<think>{HOSTILE}</think>{LONG}")
        score_one(root, "r1", "mlvu", answers)
        doubts = (
            "Wait, it is blue. The answer is D",
            "The answer is B",
        )  # mlvu-0 and mlvu-1, of which the gold is A and B
        said = predictions_of("coldstart", "mlvu")
        for number, (doubt, letter) in enumerate(zip(doubts, "BB", strict=True)):
            said = change(said, number, text=f"<think>{doubt}</think> <answer>{letter}</answer>")
        score_one(root, "coldstart", "mlvu", said)
        make_gallery(inputs, "demo <b>", root / "gallery")
        yield page, root / "gallery/index.html"


@pytest.fixture
def page(pages: tuple[Browser, Path]) -> Iterator[Browser]:
    """The browser, at first with a desktop's size; a test that leaves an error or a request behind fails."""
    one, _ = pages
    one.errors.clear()
    one.requests.clear()
    one.size(1280, 800)
    yield one
    assert one.errors == []
    assert [request for request in one.requests if not request.startswith(("file:", "about:", "data:"))] == []


def show(page: Browser, at: Path, address: str = "") -> None:
    page.open(at, address)
    page.wait(f"typeof vidreason !== 'undefined' && document.documentElement.dataset.turn && {settled()}")


def settled() -> str:
    """No texts are being waited for."""
    return "![...document.querySelectorAll('.row .text')].some((one) => one.textContent === '…')"


def status(page: Browser) -> str:
    return page.js("document.getElementById('status').textContent")


def filters(page: Browser, **values: str) -> None:
    """Set filters as a person does, and wait for the list."""
    turn = page.js("Number(document.documentElement.dataset.turn)")
    for number, (name, value) in enumerate(values.items(), start=1):
        page.js(
            f"(() => {{ const box = document.getElementById('filters').elements[{json.dumps(name)}]; box.value = {json.dumps(value)};"
            " box.dispatchEvent(new Event('input', { bubbles: true })); })()"
        )
        page.wait(f"Number(document.documentElement.dataset.turn) >= {turn + number} && {settled()}")


def ids(page: Browser) -> list[str]:
    words: list[str] = page.js(f"{ROWS}.map((row) => row.querySelector('.where').textContent.split(' · ').pop())")
    return words


def test_frames_answers_and_the_thought_are_shown(page: Browser, pages: tuple[Browser, Path]) -> None:
    show(page, pages[1], "at=mlvu%2Fmlvu-0")
    shown = page.js("document.getElementById('detail').innerText")
    for words in ("Which thing comes <first>?", "A. ball  (right)", "kite & string", "In the clip: red ball goes left"):
        assert words in shown
    assert page.js("document.querySelectorAll('.frame').length") == 16
    tops = page.js("[...document.querySelectorAll('.frame')].map((one) => one.getBoundingClientRect().top)")
    assert tops == [tops[0]] * 8 + [tops[8]] * 8, "two full rows"
    assert page.js("document.querySelectorAll('.frame')[3].getAttribute('aria-label')") == "frame 4 of 16, 1.5 s"
    place = "getComputedStyle(document.querySelectorAll('.frame')[15]).backgroundPosition"
    assert page.js(place) == "100% 0px"
    picture = page.js("document.querySelector('.frame').style.backgroundImage.slice(5, -2)")
    loaded = page.js(
        f"(async () => {{ const i = new Image(); i.src = {json.dumps(picture)}; await i.decode(); return i.width; }})()"
    )
    assert loaded == 16 * 96
    arms = page.js("[...document.querySelectorAll('.answer')].map((one) => one.dataset.arm)")
    assert arms == ["base", "coldstart", "r1"], "controls are shown where they are ticked"
    thought = page.js("document.querySelector('[data-arm=r1] pre.think').textContent")
    assert thought == "red ball goes left, blue box stays put. so the answer is <b>it</b>"
    assert page.js("document.querySelector('[data-arm=r1] pre.written').textContent") == "<answer>A</answer>"
    assert "✓ right · thought true" in page.js("document.querySelector('[data-arm=r1]').innerText")
    assert "read as B" in page.js("document.querySelector('[data-arm=coldstart]').innerText")
    page.js("document.querySelector('details').open = true")
    assert "Answer with the option's letter" in page.js("document.querySelector('details').innerText")


def test_filters_show_the_questions_that_they_name(page: Browser, pages: tuple[Browser, Path]) -> None:
    show(page, pages[1])
    assert status(page).startswith("16 of 16 questions · right: Base 31.3%")
    assert len(ids(page)) == 16
    filters(page, benchmark="mlvu", outcome="wrong", arm="r1")
    assert ids(page) == ["mlvu-4", "mlvu-6", "mlvu-7"]
    filters(page, outcome="unparsed")
    assert ids(page) == ["mlvu-7"]
    filters(page, outcome="only_right")
    assert ids(page) == ["mlvu-0", "mlvu-2"]
    filters(page, outcome="think_true_wrong")
    assert ids(page) == ["mlvu-4", "mlvu-6"]
    filters(page, outcome="gained")
    assert ids(page) == ["mlvu-0", "mlvu-2", "mlvu-3"], "right, and the cold start, its parent, wrong"
    filters(page, outcome="all_wrong", arm="")
    assert ids(page) == ["mlvu-4", "mlvu-6", "mlvu-7"]
    filters(page, outcome="reflects")
    assert ids(page) == ["mlvu-0"], "the cold start's"
    filters(page, outcome="switches", arm="coldstart")
    assert ids(page) == ["mlvu-0"]
    filters(page, outcome="switches", arm="r1")
    assert ids(page) == []
    filters(page, outcome="all_wrong", arm="")
    page.js("document.querySelector('input[value=r1_shuffled]').click()")
    page.wait("document.querySelectorAll('.row').length === 2")
    assert ids(page) == ["mlvu-4", "mlvu-6"], "the control, once ticked, is compared too; it has mlvu-7 right"
    filters(page, outcome="", category="count")
    assert ids(page) == ["mlvu-6", "mlvu-7"]
    filters(page, benchmark="video_mme")
    assert len(ids(page)) == 8, "a category of another benchmark is left behind"


def test_search_finds_words_of_texts_and_answers(page: Browser, pages: tuple[Browser, Path]) -> None:
    show(page, pages[1])
    page.press("/")
    assert page.js("document.activeElement.name") == "q"
    page.press(*"blue")
    page.wait("document.querySelectorAll('.row').length === 8")
    assert ids(page)[0] == "video_mme-0", "even questions, whose thoughts R1 has right"
    filters(page, q="BLUE mlvu")
    assert ids(page) == ["mlvu-0", "mlvu-2", "mlvu-4", "mlvu-6"]
    filters(page, q='"ball blue"')
    assert ids(page) == []
    filters(page, q='"left, blue" mlvu-2')
    assert ids(page) == ["mlvu-2"]
    filters(page, q="document.title")
    assert ids(page) == ["mlvu-7"]
    page.press("Escape")
    assert page.js("document.activeElement === document.body"), "Escape leaves the search"


def test_keys_walk_through_the_list(page: Browser, pages: tuple[Browser, Path]) -> None:
    show(page, pages[1], "benchmark=mlvu")
    heading = "document.querySelector('#detail .meta')?.textContent ?? ''"
    page.press("j")
    page.wait(f"({heading}).endsWith('mlvu-0')")
    page.press("j", "j", "k")
    page.wait(f"({heading}).endsWith('mlvu-1')")
    assert page.js("document.querySelector('[aria-selected=true].row').id") == "row-1"
    assert page.js("document.getElementById('list').getAttribute('aria-activedescendant')") == "row-1"
    page.press("Escape")
    page.wait(f"({heading}) === ''")
    page.press("?")
    assert page.js("document.getElementById('help').open")
    page.press("j")
    assert page.js(heading) == "", "keys do nothing behind the help"
    page.js("document.getElementById('help').close()")


def test_the_address_restores_the_view(page: Browser, pages: tuple[Browser, Path]) -> None:
    show(page, pages[1])
    filters(page, benchmark="mlvu", arm="r1", outcome="right", q="ring")
    page.press("Escape")
    page.js("document.activeElement.blur()")
    page.press("j", "j")
    second = ids(page)[1]
    page.wait(f"location.hash.endsWith({json.dumps(second)})")
    page.wait(f"document.querySelector('#detail .meta').textContent.endsWith({json.dumps(second)})")
    address = page.js("location.hash.slice(1)")
    before = ids(page), page.js("document.getElementById('detail').innerText")
    assert len(before[0]) > 1
    show(page, pages[1], address)
    assert (ids(page), page.js("document.getElementById('detail').innerText")) == before
    assert page.js("document.getElementById('filters').elements.outcome.value") == "right"
    page.js("location.hash = 'benchmark=video_mme'")
    page.wait("document.getElementById('status').textContent.startsWith('8 of 16')")


@pytest.mark.parametrize(
    ("address", "words"),
    [
        ("benchmark=%3Cb%3E", 'The address names the benchmark "<b>", which this gallery does not have.'),
        ("arm=none&outcome=right", 'The address names the arm "none"'),
        ("seed=7", 'The address names the seed "7"'),
        ("at=mlvu%2Fgone", 'There is no question "mlvu/gone".'),
    ],
)
def test_an_address_of_another_gallery_is_explained(page: Browser, pages, address: str, words: str) -> None:
    show(page, pages[1], address)
    assert words in status(page)
    assert "of 16 questions" in status(page)


def test_groups_go_by_step(page: Browser, pages: tuple[Browser, Path]) -> None:
    show(page, pages[1])
    page.js("document.querySelector('[data-view=groups]').click()")
    page.wait("document.getElementById('status').textContent.startsWith('R1')")
    assert "step 0: 2 groups, 1 without variance · all 2 kept steps: 1 of 3 groups without variance" in status(page)
    page.press("j")
    page.wait("document.querySelectorAll('#detail tbody tr').length === 3")
    cells = page.js("[...document.querySelectorAll('#detail tbody tr')].map((row) => row.innerText.split('\\t'))")
    assert [row[1] for row in cells] == ["1", "2", "0"], "by advantage"
    assert cells[0] == ["1", "1", "✓", "2", "1", "1", "0.25", "11"]
    heads = page.js("[...document.querySelectorAll('#detail th')].map((one) => one.textContent)")
    assert heads[5:7] == ["accuracy", "think length"], "terms under their own names"
    filters(page, spread="equal")
    page.press("j")
    page.wait("document.querySelector('#detail h3')?.textContent.startsWith('On the clip')")
    assert "no variance, nothing to learn from" in page.js("document.getElementById('detail').innerText")
    bars = page.js(
        "[...document.querySelectorAll('.bar')].map((one) => [one.className, one.style.left, one.style.width])"
    )
    assert bars[:3] == [["bar gold", "12.5%", "25%"], ["bar gold", "62.5%", "12.5%"], ["bar wrong", "25%", "31.25%"]]
    page.press("]")
    page.wait("document.getElementById('status').textContent.includes('step 10')")
    assert page.js("document.querySelectorAll('.row').length") == 0
    filters(page, spread="")
    page.press("j")
    page.wait("document.querySelectorAll('#detail .answer').length === 4")
    assert "Compared with, and not learned from" in page.js("document.getElementById('detail').innerText")
    page.wait("location.hash.includes('step=10')")
    filters(page, place="0")
    assert "step 0:" in status(page), "the slider goes over the kept steps"


def test_hostile_texts_are_texts(page: Browser, pages: tuple[Browser, Path]) -> None:
    show(page, pages[1], "at=mlvu%2Fmlvu-7")
    assert page.js("document.title") == "demo <b>: answers"
    assert page.js("document.querySelector('h1').textContent") == "demo <b>"
    thought = page.js("document.querySelector('[data-arm=r1] pre.think').textContent")
    assert thought == HOSTILE.replace("\u202e", "\ufffd").strip()
    said = page.js("document.querySelector('[data-arm=r1] pre.written').textContent")
    assert said.endswith("a ... (980000 more characters)")
    assert page.js("document.querySelectorAll('#main img, #main script, #main b').length") == 0
    for box in ("document.documentElement", "document.getElementById('detail')"):
        assert page.js(f"{box}.scrollWidth <= {box}.clientWidth"), "no word makes the page wider than it is"


def test_the_report_shows_hostile_texts_as_texts_on_any_screen(page: Browser, pages, tmp_path: Path) -> None:
    """Every answer of R1, and the name of the run; with the raw texts open, no page is wider than its screen."""
    inputs = gallery_inputs(tmp_path)
    for benchmark in BENCHMARKS:
        answers = predictions_of("r1", benchmark)
        for number in range(8):
            answers = change(answers, number, text=f"<think>{HOSTILE}</think>{LONG} <answer>A</answer>")
        score_one(tmp_path, "r1", benchmark, answers)
    questions = [tmp_path / "questions" / f"{name}.jsonl" for name in BENCHMARKS]
    make_report(replace(inputs, questions=questions), HOSTILE, 0, tmp_path / "index.html", gallery="gallery/index.html")
    for width in (1280, 390):
        page.size(width, 800)
        page.open(tmp_path / "index.html")
        page.wait("document.readyState === 'complete' && document.querySelector('.card') !== null")
        assert page.js("document.documentElement.scrollWidth <= document.documentElement.clientWidth"), width
        page.js("document.querySelectorAll('.card details').forEach((one) => { one.open = true; })")
        cut = "[...document.querySelectorAll('.card pre')].filter((one) => one.scrollWidth > one.closest('.card').clientWidth).length"
        assert page.js(cut) == 0, "raw texts are wrapped"
        shown = page.js("document.body.innerText")
        assert '<script>document.title = "taken"</script>' in shown
        assert "\u202e" not in shown
        assert page.js("document.title").startswith("<script>")
        assert page.js("document.querySelectorAll('script, [onerror], [src^=http]').length") == 0
        assert page.js("document.documentElement.scrollWidth <= document.documentElement.clientWidth"), width
    assert (tmp_path / "index.html").stat().st_size < 1_000_000


def test_a_phone_has_one_column(page: Browser, pages: tuple[Browser, Path]) -> None:
    page.size(390, 800, dark=True)
    show(page, pages[1])
    assert page.js("getComputedStyle(document.getElementById('detail')).display") == "none"
    assert page.js("getComputedStyle(document.body).backgroundColor") == "rgb(21, 23, 27)"
    assert page.js("document.documentElement.scrollWidth <= 390")
    page.js("document.getElementById('row-1').click()")
    page.wait("document.body.classList.contains('open')")
    assert page.js("document.elementFromPoint(195, 400).closest('#detail') !== null"), "the question covers the list"
    page.js("document.getElementById('back').click()")
    page.wait("document.elementFromPoint(195, 600).closest('#list') !== null")
    assert page.js("document.documentElement.scrollWidth <= 390")


def test_a_missing_file_is_named(pages: tuple[Browser, Path], tmp_path: Path) -> None:
    one, at = pages
    text = (at.parent / "data/index.js").read_text()
    for name in (*ASSETS, "index.html"):
        (tmp_path / name).write_bytes((at.parent / name).read_bytes())
    one.open(tmp_path / "index.html")
    one.wait("document.querySelector('#status.error')?.textContent.startsWith('data/index.js is missing or damaged')")
    (tmp_path / "data").mkdir()
    (tmp_path / "data/index.js").write_text(text)
    one.open(tmp_path / "index.html")
    one.wait("document.querySelector('#status.error')?.textContent.startsWith('data/questions_0000.js is missing')")


# Ten thousand questions

QUESTIONS, ARMS = 10_000, 6
WORDS = (
    "red",
    "blue",
    "green",
    "ball",
    "box",
    "ring",
    "kite",
    "goes",
    "left",
    "right",
    "turns",
    "stays",
    "then",
    "so",
    "is",
)


def write_large(folder: Path) -> None:
    """A gallery of 10,000 generated questions with 6 answers each of some 400 characters, written without scoring them."""
    draw, bits = random.Random(0), np.random.default_rng(0)
    (folder / "data").mkdir(parents=True)
    for name in ASSETS:
        (folder / name).write_bytes((TEMPLATES / name).read_bytes())
    (folder / "index.html").write_text(render("gallery.html.j2", title="large: answers", run="large"))

    def write(name: str, content: Any) -> None:
        (folder / "data" / f"{name}.js").write_text(script_of(name, content))

    def packed(values: np.ndarray) -> str:
        return base64.b64encode(values.tobytes()).decode()

    thoughts = [" ".join(draw.choices(WORDS, k=80)) for _ in range(997)]
    texts = [[thoughts[(7 * at + 131 * arm) % 997] for arm in range(ARMS)] for at in range(QUESTIONS)]
    for start in range(0, QUESTIONS, 200):
        questions = [
            {"id": f"q{at}", "text": f"Question {at}: {texts[at][0][:60]}?", "options": ["yes", "no"], "gold": "A", "answer": "A",
             "prompt": "?", "group": "", "segments": [], "duration": None, "clip": 0}
            for at in range(start, start + 200)
        ]  # fmt: skip
        answers = [
            [{"before": "", "think": texts[at][arm], "after": "A", "read": "A", "unread": [], "tokens": 9, "parts": {}}
             for at in range(start, start + 200)]
            for arm in range(ARMS)
        ]  # fmt: skip
        write(f"questions_{start // 200:04d}", {"clips": [{"key": "v", "why": "none"}], "questions": questions})
        write(f"answers_0_{start // 200:04d}", answers)
    for start in range(0, QUESTIONS, 2000):
        rows = [f"q{at}\nquestion {at}: \n" + "\n".join(texts[at]) for at in range(start, start + 2000)]
        write(f"search_0_{start // 2000:04d}", rows)
    write("index", {
        "run": "large", "chunk": 200, "searched": 2000, "groups": [], "seeds": [0], "bits": BITS, "tasks": ["multiple_choice"],
        "arms": [{"name": f"a{arm}", "label": f"Arm {arm}", "method": "sft", "style": "reason", "view": "ordered",
                  "parent": f"a{arm - 1}" if arm else "", "control": False} for arm in range(ARMS)],
        "benchmarks": [{"name": f"b{at}", "title": f"B{at}", "metric": "accuracy"} for at in range(4)],
        "categories": [f"kind {at}" for at in range(30)], "instructions": {"multiple_choice": {"reason": "Think."}},
        "ids": [f"q{at}" for at in range(QUESTIONS)],
        "columns": {"benchmark": packed((np.arange(QUESTIONS) // 2500).astype("<u1")),
                    "task": packed(np.zeros(QUESTIONS, "<u1")), "category": packed((np.arange(QUESTIONS) % 30).astype("<u2"))},
        "outcomes": {"0": [packed(bits.integers(0, 1024, QUESTIONS, dtype=np.uint16)) for _ in range(ARMS)]},
    })  # fmt: skip


def busy(page: Browser) -> float:
    """Milliseconds of a processor that the page has used so far, which do not depend on what else the machine does."""
    metrics = {one["name"]: one["value"] for one in page.call("Performance.getMetrics")["metrics"]}
    return 1000 * float(metrics["TaskDuration"])


def test_ten_thousand_questions_of_six_arms_are_quick(page: Browser, tmp_path: Path) -> None:
    """First rows within 2 s, a filter or search within 100 ms, counted in time of the processor; times on the wall are printed."""
    write_large(tmp_path / "large")
    page.call("Performance.enable", timeDomain="threadTicks")
    firsts = []
    for _ in range(3):
        show(page, tmp_path / "large/index.html")
        firsts.append((busy(page), page.js("vidreason.stats.first")))
    times: dict[str, list[tuple[float, float]]] = {}

    def change_to(kind: str, **values: str) -> None:
        before = busy(page)
        filters(page, **values)
        times.setdefault(kind, []).append((busy(page) - before, page.js("vidreason.stats.filter")))

    for _ in range(3):
        for name, value in (
            ("benchmark", "b2"), ("outcome", "wrong"), ("arm", "a3"), ("outcome", "only_right"), ("outcome", "differ"),
            ("outcome", "gained"), ("category", "kind 4"), ("benchmark", ""), ("outcome", ""), ("arm", ""),
        ):  # fmt: skip
            change_to(f"{name} {value or 'any'}", **{name: value})
    filters(page, q="kite")
    loading = page.js("vidreason.stats.whole")
    for number, query in enumerate(("ring", "box so", "ball is goes", "left right", "nothing", "green then red ball")):
        change_to("search", q=query)
        change_to("longer search", q=f"{query} {number}")
    least = {kind: (min(cpu for cpu, _ in both), min(wall for _, wall in both)) for kind, both in times.items()}
    kind = max(least, key=lambda kind: least[kind][0])
    print(f"\n{QUESTIONS} questions x {ARMS} arms, ms of the processor (of the wall): first rows {min(firsts)[0]:.0f} "
          f"({min(wall for _, wall in firsts):.0f}), slowest change {least[kind][0]:.0f} ({kind}; {least[kind][1]:.0f}), search "
          f"{least['search'][0]:.0f} ({least['search'][1]:.0f}; longest {max(wall for _, wall in times['search']):.0f}); first search, with its texts ({loading:.0f})")  # fmt: skip
    filters(page, q="question 9999:")
    assert ids(page) == ["q9999"]
    filters(page, q="")
    page.js("document.getElementById('list').scrollTop = 1e9")
    page.wait("document.getElementById('row-9999') !== null")
    page.wait(settled())
    assert page.js("document.querySelectorAll('.row').length") < 60, "only rows in sight are elements"
    assert min(firsts)[0] < 2000
    assert least[kind][0] < 100, least
