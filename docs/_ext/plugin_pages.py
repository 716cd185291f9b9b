"""The reference of plugins, from their files as the config checker reads them (`reliquant.plugins`)."""

from __future__ import annotations

import ast

from markup import code, docstring, fenced, first_paragraph, prose, table

from reliquant import plugins

GIVEN = {  # words that a study hands over, and from where
    "quantizer": {"weight": "the precision", "activation": "the precision"},
    "corruption": {"severity": "`severities`"},
}
BY_NAME = ("corruption", "figure", "table")  # families that a config names without words


def families() -> str:
    """Write a table of all families, with how many plugins each has."""
    lines = []
    for family, package in plugins.FAMILIES.items():
        there = f"[{family}](plugins/{family}.md)"
        lines.append([there, str(len(plugins.names(family))), code(f"src/reliquant/{package.replace('.', '/')}/")])
    return table(["family", "plugins", "folder"], lines)


def family(name: str) -> str:
    """Write a family: a table of its plugins, then each with its words."""
    lines = [
        [f"[{code(plugin)}](#{_anchor(name, plugin)})", first_paragraph(_about(name, plugin))]
        for plugin in plugins.names(name)
    ]
    return "\n\n".join([table([name, "what it is"], lines), *(_plugin(name, plugin) for plugin in plugins.names(name))])


def _anchor(family_name: str, plugin: str) -> str:
    return f"{family_name}-{plugin.replace('_', '-')}"


def _about(family_name: str, plugin: str) -> str:
    """Read the docstring of a plugin's file."""
    return ast.get_docstring(ast.parse(plugins.source(family_name, plugin).read_text())) or ""


def _plugin(family_name: str, plugin: str) -> str:
    words = plugins.words(plugins.source(family_name, plugin), family_name)
    pieces = [f"({_anchor(family_name, plugin)})=\n## {code(plugin)}", docstring(_about(family_name, plugin))]
    pieces.append(docstring(plugins.described(family_name, plugin)))
    if how := plugins.how(family_name, plugin):
        pieces.append(f"To get it: {prose(how)}")
    if place := plugins.place(family_name, plugin):
        pieces.append(f"The folder to fill: {code(place)}.")
    if words:
        given = GIVEN.get(family_name, {})
        lines = [
            [code(word), code(str(kind)), f"from {given[word]}" if word in given else _default(default)]
            for word, (kind, default) in words.items()
        ]
        pieces.append(table(["word", "takes", "default"], lines))
    if family_name not in BY_NAME:
        pieces.append(fenced(_entry(family_name, plugin, words), "yaml"))
    return "\n\n".join(piece for piece in pieces if piece)


def _default(default: object) -> str:
    return "required" if default is ... else code(repr(default))


def _entry(family_name: str, plugin: str, words: plugins.Words) -> str:
    """Write the shortest entry that names the plugin."""
    given = GIVEN.get(family_name, {})
    needed = [f"{word}: ..." for word, (_, default) in words.items() if default is ... and word not in given]
    return "{ " + ", ".join([f"{family_name}: {plugin}", *needed]) + " }"
