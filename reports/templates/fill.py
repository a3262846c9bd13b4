"""The templates of the pages, which lie beside the code."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined, Template
from markupsafe import Markup


def template(name: str, html: bool, **filters: Callable) -> Template:
    """A template in which an unknown name is an error, and no text of a file can start a tag: in HTML it is
    escaped, in Markdown its `<` is. Only `Markup` is taken as it is.
    """
    environment = Environment(
        loader=FileSystemLoader(Path(__file__).parent),
        autoescape=html,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        finalize=None if html else _without_tags,
    )
    environment.filters |= filters
    return environment.get_template(name)


def _without_tags(value: Any) -> Any:
    return value.replace("<", "&lt;") if isinstance(value, str) and not isinstance(value, Markup) else value
