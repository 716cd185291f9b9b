"""The pages that are made from code hold all of it, and what they say is what the code does."""

import re

import pytest

pytest.importorskip("sphinx", reason="sphinx is not installed (pip install 'reliquant[docs]')")
import command_pages
import config_pages
import made
import measure_pages
import pictures
import plugin_pages

import reliquant
from reliquant import plugins
from reliquant.cli.main import SUBCOMMANDS, main
from reliquant.study import config

DOCS = made.ROOT / "docs"


def section(page, anchor):
    """Cut out of a page what stands between an anchor and the next."""
    return re.split(r"^\([\w-]+\)=$", page.partition(f"\n({anchor})=\n")[2], flags=re.M)[0]


@pytest.mark.parametrize("name", SUBCOMMANDS)
def test_every_word_of_a_command_that_its_help_shows_is_on_the_page(name, capsys):
    with pytest.raises(SystemExit):
        main([name, "--help"])
    words = set(re.findall(r"(?<![\w-])--[a-z][a-z-]*", capsys.readouterr().out)) - {"--help"}
    told = section(command_pages.commands(), f"reliquant-{name}")
    in_table = set(re.findall(r"^\| `(?:-\w, )?(--[a-z-]+)`", told, re.M))
    assert "--debug" in in_table
    assert words <= set(re.findall(r"--[a-z][a-z-]*", told))
    assert in_table <= words


def test_defaults_and_choices_of_a_command_are_its_own():
    told = section(command_pages.commands(), "reliquant-quantize")
    assert re.search(r"^\| `--precision` \| word \| `w8a8` \|", told, re.M)
    assert re.search(r"^\| `--scope` \| `image`, `both` \| `image` \|", told, re.M)
    assert re.search(r"^\| `--pairs` \|.*required", told, re.M)
    check = section(command_pages.commands(), "reliquant-check")
    assert "Exit code 3" in check
    assert "[Measures](../measures.md)" in check


def test_every_key_of_a_config_has_its_default():
    page = config_pages.parts()
    for model in (config.Config, config.Noise, config.Deploy, config.Time):
        told = section(f"\n{page}", config_pages._anchor(model))
        for key, field in model.model_fields.items():
            line = re.search(rf"^\| `{key}` \| (.*) \| (.*) \|$", told, re.M)
            assert line, key
            assert (line[2] == "required") == field.is_required()
    assert re.search(r"^\| `equivalence` \| number \(above 0, below 1\) \| `0.01` \|", page, re.M)
    assert re.search(
        r"^\| `severities` \| list of: whole number \(at least 1, at most 5\) \| `\[1, 2, 3, 4, 5\]` \|", page, re.M
    )
    assert "| `schemes.<name>.layers` | [layers](#config-layers) | quantizer |" in page


@pytest.mark.parametrize("family", plugins.FAMILIES)
def test_every_plugin_of_a_family_has_its_words_on_a_page(family):
    assert f"<!-- made at build time: plugins {family} -->" in (DOCS / f"reference/plugins/{family}.md").read_text()
    page = f"\n{plugin_pages.family(family)}"
    for name in plugins.names(family):
        told = section(page, plugin_pages._anchor(family, name))
        words = plugins.words(plugins.source(family, name), family)
        assert set(re.findall(r"^\| `(\w+)` \|", told, re.M)) == set(words), name
    assert f"[{family}](plugins/{family}.md)" in plugin_pages.families()


def test_the_entry_of_a_plugin_is_one_that_the_config_checker_takes():
    page = f"\n{plugin_pages.family('score')}"
    entries = re.findall(r"```yaml\n\{ score: (\w+) \}\n```", page)
    assert set(entries) == set(plugins.names("score"))
    assert [plugins.check("score", {"score": name}) for name in entries] == [[]] * len(entries)
    assert "```yaml\n{ quantizer: gptq }\n```" in plugin_pages.family("quantizer")


def test_the_table_of_measures_has_all_of_the_page_and_leads_to_their_sections():
    page = measure_pages.index()
    for measure in (
        "accuracy",
        "squared_ce",
        "auroc",
        "conformal_coverage_90_own",
        "recall_at_1",
        "rsg",
        "sqnr",
        "template_spread",
    ):
        assert re.search(rf"^\| `{measure}`", page, re.M), measure
    assert page.count("\n| ") > 80
    assert "[Calibration](../measures.md#calibration-reliquantmeasures-calibration-smooth_ece-selective)" in page


def test_every_function_of_the_package_is_in_the_library():
    page = made.MAKERS["modules"]("notebook")
    assert re.findall(r"autofunction:: reliquant\.(\w+)", page) == list(reliquant._PLACES)
    assert "automodule:: reliquant.measures.calibration" in made.MAKERS["modules"]("measures.*")


def test_an_unknown_maker_is_refused_by_the_name_of_its_page():
    with pytest.raises(ValueError, match=r"docs/start\.md: there is no maker 'commnads'; there are commands, config"):
        made.fill(None, "start", ["<!-- made at build time: commnads -->"])


def test_links_to_files_outside_lead_to_their_pages():
    text = ["see [keys](../config/README.md#top) and [web](https://example.org) and [map](design.md)"]
    made.fill(None, "start", text)
    assert text == ["see [keys](reference/config.md#top) and [web](https://example.org) and [map](design.md)"]
    text = ["[the map](../../docs/design.md), [a file](../../pyproject.toml), [none](../../none.md)"]
    made.fill(None, "reference/library", text)
    assert text == ["[the map](../design.md), [a file](../../pyproject.toml), [none](../../none.md)"]
    text = ["<!-- made at build time: file CONTRIBUTING.md -->"]
    made.fill(None, "contributing", text)
    assert "([SECURITY.md](security.md))" in text[0]


def test_the_verdicts_of_the_picture_are_those_of_the_rules():
    for low, high, falls, stays in pictures.VERDICTS:
        within, margin = (low > -pictures.MARGIN and high < pictures.MARGIN), pictures.MARGIN
        if high < 0:
            assert falls == "supported"
        elif low > 0 or within:
            assert falls.startswith("contradicted")
        else:
            assert falls == "too small to tell"
        beyond = high < -margin or low > margin
        assert stays == ("supported" if within else "contradicted" if beyond else "too small to tell")
