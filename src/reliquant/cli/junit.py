"""Verdicts as JUnit XML, as CI systems read it: a suite for each variant, a case for each wish."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any
from xml.etree import ElementTree

from reliquant.report.escaping import one_line
from reliquant.report.gate import FAILS, OPEN

FORBIDDEN = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")  # in XML 1.0, even escaped
WORDS = {FAILS: "failure", OPEN: "error"}  # a case that is skipped would let a build pass


def junit_of(data: Mapping[str, Any], /) -> str:
    """Write what `check` found (its `--json`) as JUnit XML: what fails is a failure, what cannot be told an error."""
    every = [line for variant in data["variants"] for line in variant["wishes"]]
    top = ElementTree.Element("testsuites", _counts(every, data["rows"]))
    for variant in data["variants"]:
        less = f" less {variant['against']}" if variant["against"] else ""
        title = f"{variant['name']}{less}"
        suite = ElementTree.SubElement(top, "testsuite", _counts(variant["wishes"], title))
        for line in variant["wishes"]:
            case = ElementTree.SubElement(suite, "testcase", classname=_plain(title), name=_plain(line["wish"]))
            told = _told(line, data["confidence"])
            if line["verdict"] in WORDS:
                message = {"message": told, "type": line["verdict"]}
                ElementTree.SubElement(case, WORDS[line["verdict"]], message).text = told
            else:
                ElementTree.SubElement(case, "system-out").text = told
    return _written(top)


def junit_of_error(name: str, message: str, /) -> str:
    """Write that nothing was judged, and why, as an error: so no file of an earlier run stays behind."""
    counts = _counts([{"verdict": OPEN}], name)
    top = ElementTree.Element("testsuites", counts)
    suite = ElementTree.SubElement(top, "testsuite", counts)
    case = ElementTree.SubElement(suite, "testcase", classname=_plain(name), name="bad input")
    ElementTree.SubElement(case, "error", message=_plain(message), type="bad input").text = _plain(message)
    return _written(top)


def _counts(lines: Sequence[Mapping[str, Any]], name: str) -> dict[str, str]:
    words = [line["verdict"] for line in lines]
    counts = {"tests": len(words), "failures": words.count(FAILS), "errors": words.count(OPEN), "skipped": 0}
    return {"name": _plain(name), **{word: str(count) for word, count in counts.items()}}


def _told(line: Mapping[str, Any], confidence: float) -> str:
    """Say a verdict with its numbers."""
    parts = [str(line["verdict"])]
    if line["value"] is not None:
        parts.append(f"value {line['value']:.12g}")
    if line["low"] is not None:
        parts.append(f"bounds {line['low']:.6g} and {line['high']:.6g}, each with {100 * confidence:g} % confidence")
    parts += [f"n {line['n']}"] if line["n"] else []
    parts += [f"on {line['sets']}"] if line["sets"] else []
    return _plain("; ".join([*parts, *filter(None, [line["why"]])]))


def _plain(text: str) -> str:
    """Return a text on one line, of signs that XML may hold."""
    return FORBIDDEN.sub(lambda sign: ascii(sign[0])[1:-1], one_line(text))


def _written(top: ElementTree.Element) -> str:
    ElementTree.indent(top)
    return '<?xml version="1.0" encoding="UTF-8"?>\n' + ElementTree.tostring(top, encoding="unicode") + "\n"
