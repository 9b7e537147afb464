"""Markdown of results, read by a parser: whatever a text holds, the document has its own headings, lists and tables alone."""

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from markdown_it import MarkdownIt

from vidreason.artifacts.control_characters import escaped
from vidreason.results.markdown import Bullets, Grid, Heading, Paragraph, to_markdown

PARSER = MarkdownIt("commonmark", {"html": True}).enable(["table", "strikethrough"])
HOSTILE = (
    "<script>alert(1)</script>", "<img src=x onerror=alert(1)>", "<!-- x", "</td>", "&lt;b&gt; &#60;", "[a](javascript:alert(1))",
    "![a](https://evil.example/x.png)", "[a]: https://evil.example", "<https://evil.example>", "`code`", "``` python", "~~~", "~~x~~",
    "# x", "###### x", "x ##", "#", "- x", "+ x", "* x", "1. x", "12) x", "> x", "---", "***", "* * *", "___", "===", "- - -", "-",
    "a|b|c", "|", "\\", "\\|", "a\\", "*a*", "__a__", "_a_ b", "$x$", "a\n\n# b", "a\r\n- b", "    code", "\tcode", "a\u2028# b",
    "a\0b", "\u202eabc", "=1+1", "x  \ny", "[ ] x", "[^1]: x", ":---:",
)  # fmt: skip


def shown(tokens: list) -> str:
    """The text that a reader sees."""
    return "".join(
        token.content if token.type in ("text", "text_special") else shown(token.children or []) for token in tokens
    )


def kinds(tokens: list) -> list[str]:
    """Types of everything in a document but texts."""
    own = [[token.type, *kinds(token.children or [])] for token in tokens if token.type not in ("text", "text_special")]
    return [kind for one in own for kind in one]


def document(text: str) -> list:
    return [
        Heading(text, 1), Paragraph(text), Bullets([text, text]), Paragraph(text, "*"), Grid(["a", text], [[text, "b"], ["c", text]]), Heading(text),
        Paragraph("end"),
    ]  # fmt: skip


PLAIN = kinds(PARSER.parse(to_markdown(document("plain"))))


def is_text_everywhere(text: str) -> None:
    blocks = document(text)
    tokens = PARSER.parse(to_markdown(blocks))
    assert kinds(tokens) == PLAIN
    line = escaped(text).strip()
    assert [shown([token]) for token in tokens if token.type == "inline"] == [
        *[line] * 4, line, "a", line, line, "b", "c", line, line, "end"
    ]  # fmt: skip


@pytest.mark.parametrize("text", HOSTILE)
def test_a_text_stays_a_text(text: str) -> None:
    is_text_everywhere(text)


@given(st.text(st.sampled_from("#-+*>_=`~|[]()!<>&;:/\\ 1.)ax$\n\t'\""), min_size=1, max_size=12))
@example("\\*a*")
def test_any_text_stays_a_text(text: str) -> None:
    if escaped(text).strip():
        is_text_everywhere(text)


@pytest.mark.parametrize(
    ("text", "wanted"),
    [("see https://evil.example/x", r"see https\://evil.example/x"), ("WWW.evil.example", r"WWW\.evil.example")],
)
def test_an_address_is_no_link(text: str, wanted: str) -> None:
    """GitHub makes links of bare addresses."""
    assert to_markdown([Paragraph(text)]) == f"{wanted}\n"


@pytest.mark.parametrize(
    "text", ["95.3 ± 1.2", "1.5 s", "-", "-1.2", "a - b", "C# and #1", "my_name", "p < 0.05", "2 * 3"]
)
def test_numbers_and_names_stay_readable(text: str) -> None:
    assert to_markdown([Grid([text], [[text]])]).splitlines()[0] == f"| {text} |"
