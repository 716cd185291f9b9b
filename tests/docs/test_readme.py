"""What README and the page on statistics say of numbers and files is so."""

import re

import pytest

from reliquant import plugins

ROOT = plugins.PACKAGE.parents[1]
README = (ROOT / "README.md").read_text()
STATISTICS = (ROOT / "docs" / "statistics.md").read_text()


def test_readme_is_short_and_leads_to_files_that_are_there():
    assert len(README.splitlines()) <= 120
    targets = [target.partition("#")[0] for target in re.findall(r"\]\(([^)\s]+)\)", README)]
    assert len(targets) > 15
    assert [target for target in targets if not (ROOT / target).exists()] == []


def test_its_picture_is_small():
    (picture,) = re.findall(r"!\[[^\]]+\]\(([^)]+)\)", README)
    assert (ROOT / picture).stat().st_size < 150_000


def test_it_counts_plugins_as_they_are():
    counts = {"quantizers": len(plugins.names("quantizer")) - 1, "OOD scores": len(plugins.names("score"))}
    counts["data sets"] = len(plugins.names("dataset"))  # of the quantizers `none` quantizes nothing
    for what, count in counts.items():
        assert re.search(rf"\b{count} {what}", README), f"there are {count} {what}"


@pytest.mark.parametrize(
    ("said", "page", "measured"),
    [
        ("Of 1,041 cells", "results/coverage.md", "1,037 of 1,041 cells within"),
        ("1,037 are where they should be", "results/coverage.md", "1,037 of 1,041 cells within"),
        ("in 88 % of studies", "measures.md", "in 88 % of studies"),
        ("1.3 times too wide", "measures.md", "1.3 times too wide"),
        ("found in 3.3 %", "results/verdicts.md", "have a star anywhere: 0.033"),
        ("one point unless the config says another", "../config/README.md", "0.01 is one point"),
    ],
)
def test_numbers_of_the_page_on_statistics_are_those_of_their_source(said, page, measured):
    assert said in " ".join(STATISTICS.split())
    assert measured in " ".join((ROOT / "docs" / page).read_text().split())


def test_the_worst_share_of_false_claims_is_the_one_that_was_found():
    table = (ROOT / "docs/results/verdicts.md").read_text()
    false = [float(share) for share in re.findall(r"^\| \d+ \| [^|]+ \| (0\.\d{3}) \| 0\.\d{3} \|", table, re.M)]
    assert len(false) == 16
    assert f"found in 0 to {100 * max(false):.1f} % of simulated studies" in STATISTICS
