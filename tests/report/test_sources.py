import polars as pl
import pytest

from reliquant.report import plotting, sources
from reliquant.report.claims import judge
from reliquant.report.synthetic import Shape, rows

SMALL = Shape(seeds=(0,), clean=("shapes",), corruptions=(), ranks=(), iterations=(), ood=(), spurious=())


@pytest.mark.parametrize(
    ("source", "kind"),
    [("LAION", "noisy"), ("WebLI", "noisy"), ("datacomp", "noisy"), ("WIT", "curated"), ("DFN", "curated")],
)
def test_a_source_alone_is_drawn_as_its_kind(source, kind):
    assert sources.beginning_of(source).kind == kind
    look = plotting.looks(pl.DataFrame({"source": [source]}))[source]
    assert look == {"noisy": plotting.LIGHT, "curated": plotting.DARK}[kind]


@pytest.mark.parametrize("source", ["COYO", "a web crawl", ""])
def test_a_source_of_neither_kind_has_a_spare_look(source):
    assert sources.beginning_of(source) is None
    assert plotting.looks(pl.DataFrame({"source": [source]}))[source] == plotting.SPARE[0]


def test_the_papers_models_keep_the_looks_that_they_had():
    looks = plotting.looks(pl.DataFrame({"source": ["WIT", "LAION", "DFN", "WebLI", "COYO"]}))
    assert (looks["WIT"], looks["LAION"]) == (plotting.DARK, plotting.LIGHT)
    assert [looks[source] for source in ("COYO", "DFN", "WebLI")] == list(plotting.SPARE[:3])


@pytest.mark.parametrize(
    ("sources_of_kind", "first"), [(["laion", "datacomp"], "datacomp"), (["web", "laion"], "laion")]
)
def test_of_two_sources_of_a_kind_the_first_by_name_stands_for_it(sources_of_kind, first):
    assert sources.foremost(sources_of_kind, "noisy") == first
    assert sources.foremost(sources_of_kind, "curated") is None


@pytest.mark.parametrize(
    ("source", "testable"), [("dfn", {3}), ("webli", {2}), ("datacomp", set()), ("clean", set()), ("coyo", set())]
)
def test_the_claims_on_sources_are_asked_of_the_same_table(source, testable):
    judged = {
        claim["number"]: claim["verdict"] for claim in judge(rows(Shape(**{**vars(SMALL), "models": (("a", source),)})))
    }
    assert {number for number in (2, 3) if judged[number] != "not testable here"} == testable
