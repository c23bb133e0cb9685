"""A page taken apart: its elements, their attributes and the text that a reader sees."""

from __future__ import annotations

from dataclasses import dataclass, field
from html.parser import HTMLParser

VOID = {"meta", "br", "link", "img", "input", "source"}


@dataclass
class Element:
    """One element with its attributes."""

    tag: str
    attributes: dict[str, str | None]


@dataclass
class Markup(HTMLParser):
    """Reads a page; ``elements`` in order, ``text`` without styles and scripts."""

    elements: list[Element] = field(default_factory=list)
    pieces: list[str] = field(default_factory=list)
    open_tags: list[str] = field(default_factory=list)
    raw: dict[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        super().__init__(convert_charrefs=True)

    @classmethod
    def of(cls, html: str) -> Markup:
        markup = cls()
        markup.feed(html)
        markup.close()
        assert not markup.open_tags, f"elements left open: {markup.open_tags}"
        return markup

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append(Element(tag, dict(attrs)))
        assert len(dict(attrs)) == len(attrs), f"<{tag}> has an attribute twice: {attrs}"
        if tag not in VOID:
            self.open_tags.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append(Element(tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self.open_tags, f"</{tag}> closes nothing"
        assert self.open_tags[-1] == tag, f"</{tag}> closes <{self.open_tags[-1]}>"
        self.open_tags.pop()

    def handle_data(self, data: str) -> None:
        if self.open_tags and self.open_tags[-1] in ("style", "script"):
            self.raw[self.open_tags[-1]] = data
        else:
            self.pieces.append(data)

    @property
    def text(self) -> str:
        return " ".join(" ".join(self.pieces).split())

    def all(self, tag: str) -> list[dict[str, str | None]]:
        return [element.attributes for element in self.elements if element.tag == tag]

    def tags(self) -> set[str]:
        return {element.tag for element in self.elements}

    def attribute_names(self) -> set[str]:
        return {name for element in self.elements for name in element.attributes}
