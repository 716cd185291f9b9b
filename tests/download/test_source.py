import sys
from types import ModuleType

from reliquant.download.source import Source, sources_of, trusted_on_first_use


def test_a_source_is_not_unpacked_unless_it_says_so():
    source = Source("https://example.org/a.tar", None, None, "CC0")
    assert not source.unpack
    assert source == Source(url="https://example.org/a.tar", sha256=None, bytes=None, licence="CC0", unpack=False)


def test_what_is_trusted_on_first_use_is_said_in_so_many_words():
    known, https, http = (
        Source(f"{scheme}://example.org/a.tar", sha256, None, "CC0")
        for scheme, sha256 in (("http", "0" * 64), ("https", None), ("http", None))
    )
    assert trusted_on_first_use(known) == ""
    told = "nobody publishes the sha256 of {}://example.org/a.tar: it is trusted as it first comes, over {}"
    assert trusted_on_first_use(https) == told.format("https", "https")
    assert trusted_on_first_use(http) == told.format("http", "http") + ", so that anybody on the way could change it"


def plugin(monkeypatch, **names):
    """Put a dataset plugin of somebody else's where it can be imported."""
    module = ModuleType("mine_set")
    vars(module).update(names)
    monkeypatch.setitem(sys.modules, "mine.set", module)
    return "mine.set"


def test_the_sources_of_a_plugin_are_its_constant_or_made_of_the_entrys_words(monkeypatch):
    one, two = (Source(f"https://example.org/{name}", None, None, "free") for name in ("1", "2"))
    name = plugin(monkeypatch, SOURCES=(one,))
    assert sources_of("dataset", {"dataset": name, "split": "test"}) == (one,)
    name = plugin(monkeypatch, sources=lambda *, part: [one, two][part:])
    assert sources_of("dataset", {"dataset": name, "part": 0}) == [one, two]
    assert sources_of("lexicon", {"lexicon": name, "part": 1}) == [two]


def test_the_packages_own_plugins_name_files_on_the_network():
    (source,) = sources_of("dataset", {"dataset": "cifar10"})
    assert source.url.startswith("https://")
    assert len(source.sha256) == 64
    assert source.unpack
    words = {"repo": "some/pets", "revision": "0" * 40, "files": ["a.parquet", "b.parquet"]}
    urls = [source.url for source in sources_of("dataset", {"dataset": "huggingface", **words})]
    assert [url.rpartition("/")[2] for url in urls] == ["a.parquet", "b.parquet"]
    assert all("some/pets" in url and "0" * 40 in url for url in urls)
