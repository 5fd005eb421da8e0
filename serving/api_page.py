"""The page of the API for people: plain HTML from the OpenAPI document, without any script."""

from __future__ import annotations

from collections.abc import Mapping
from html import escape
from typing import Any, Final

import msgspec

STYLE: Final = """\
body { font: 16px/1.5 system-ui, sans-serif; margin: 0 auto; max-width: 60rem; padding: 1rem;
       color: #1a1a1a; background: #fff; }
h2 { border-top: 1px solid #bbb; padding-top: 1rem; overflow-wrap: anywhere; }
code, pre { font: 14px/1.4 ui-monospace, monospace; }
pre { background: #f3f3f3; padding: .75rem; overflow-x: auto; }
table { border-collapse: collapse; display: block; overflow-x: auto; }
th, td { text-align: left; padding: .2rem 1rem .2rem 0; vertical-align: top; }
@media (prefers-color-scheme: dark) {
  body { color: #eee; background: #161616; } pre { background: #262626; } a { color: #9cf; } }
"""
"""The page's style sheet, served beside it, so that the page needs no inline style."""


def api_page(document: Mapping[str, Any], style: str, raw: str) -> str:
    """Render a document as a page.

    Args:
        document: as `serving.openapi.openapi` makes it.
        style: the address of `STYLE`.
        raw: the address of the document itself.
    """
    info = document["info"]
    contents, parts = [], []
    for path, methods in document["paths"].items():
        for method, said in methods.items():
            anchor = escape(said["operationId"], quote=True)
            title = f"{method.upper()} {escape(path)}"
            contents.append(f'<li><a href="#{anchor}"><code>{title}</code></a></li>')
            parts += [f'<h2 id="{anchor}"><code>{title}</code></h2>', *_operation(said)]
    for name, schema in sorted(document["components"]["schemas"].items()):
        parts += [f'<h2 id="schema-{escape(name, quote=True)}">{escape(name)}</h2>', _code(schema)]
    head = (
        '<!doctype html><html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>{escape(info['title'])} API</title>"
        f'<link rel="stylesheet" href="{escape(style, quote=True)}"></head><body><main>'
    )
    body = [
        f"<h1>{escape(info['title'])} API {escape(info['version'])}</h1>",
        f"<p>{escape(info['description'])} "
        f'<a href="{escape(raw, quote=True)}">The same as OpenAPI</a>.</p>',
        "<ul>", *contents, "</ul>", *parts, "</main></body></html>\n",
    ]  # fmt: skip
    return head + "\n".join(body)


def _operation(said: Mapping[str, Any]) -> list[str]:
    """Render one operation: its line, its right, parameters, bodies."""
    found = [f"<p>{escape(said['summary'])}</p>"]
    if "x-scope" in said:
        found.append(f"<p>Needs the right <code>{escape(said['x-scope'])}</code>.</p>")
    if said["parameters"]:
        rows = [
            f"<tr><td><code>{escape(each['name'])}</code></td><td>{escape(each['in'])}</td>"
            f"<td>{escape(each.get('description', ''))}</td></tr>"
            for each in said["parameters"]
        ]
        found += ["<table><tr><th>parameter</th><th>in</th><th>what</th></tr>", *rows, "</table>"]
    if "requestBody" in said:
        found.append(f"<p>Body: {_media(said['requestBody']['content'])}</p>")
    rows = [
        f"<tr><td>{escape(status)}</td><td>{_media(answer.get('content', {}))}</td></tr>"
        for status, answer in said["responses"].items()
    ]
    return [*found, "<table><tr><th>status</th><th>answer</th></tr>", *rows, "</table>"]


def _media(content: Mapping[str, Any]) -> str:
    if not content:
        return "nothing"
    return ", ".join(f"<code>{escape(m)}</code> {_link(b['schema'])}" for m, b in content.items())


def _link(schema: Mapping[str, Any]) -> str:
    name = str(schema.get("$ref", "")).rpartition("/")[2]
    if name:
        return f'<a href="#schema-{escape(name, quote=True)}">{escape(name)}</a>'
    inside = schema.get("anyOf") or ([schema["items"]] if "items" in schema else [])
    links = [link for link in map(_link, inside) if link]
    return f"({' or '.join(links)})" if links else ""


def _code(schema: Mapping[str, Any]) -> str:
    text = msgspec.json.format(msgspec.json.encode(schema), indent=2).decode()
    return f"<pre>{escape(text)}</pre>"
