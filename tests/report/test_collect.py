import subprocess
import sys

import polars as pl
import pytest

from reliquant.files.artifacts import DamagedFile, save_frame
from reliquant.forking.workers import workers
from reliquant.report import collect
from reliquant.report.collect import backends, collected
from reliquant.report.synthetic import Shape, rows

SMALL = Shape(models=(("vit", "wit"),), seeds=(0,), clean=("shapes",), corruptions=(), ranks=(), iterations=())


@pytest.fixture
def shards(tmp_path):
    paths = []
    for (scheme,), part in rows(SMALL).group_by("scheme", maintain_order=True):
        paths.append(tmp_path / f"{scheme}.parquet")
        part.write_parquet(paths[-1])
    return paths


def test_the_order_of_the_shards_does_not_matter(shards):
    first, second = collected(shards).collect(), collected(shards[::-1]).collect()
    assert first.equals(second)
    assert first.height == rows(SMALL).height


def test_two_processes_check_what_one_checks(shards, monkeypatch):
    monkeypatch.setattr(collect, "AT_ONCE", 1)
    asked = []
    monkeypatch.setattr(collect, "workers", lambda processes: asked.append(processes) or workers(processes))
    assert collected(shards, processes=2).collect().equals(collected(shards).collect())
    assert asked == [2]
    for shard in sorted(shards)[1:3]:
        shard.write_bytes(shard.read_bytes()[:100])
    told = []
    for processes in (1, 2):
        with pytest.raises(DamagedFile, match=sorted(shards)[1].name) as caught:
            collected(shards, processes=processes)
        told.append(str(caught.value))
    assert told[0] == told[1]
    assert asked == [2, 2]


def test_shards_are_counted_by_what_computed_them(shards):
    save_frame(shards[0], pl.read_parquet(shards[0]), {"backend": "integer", "dtype": "bfloat16", "device": "cuda"})
    save_frame(shards[1], pl.read_parquet(shards[1]), {"backend": "simulate"})
    assert backends(shards) == {"integer bfloat16 cuda": 1, "simulate": 1}  # the others say nothing


def test_an_older_shard_is_refused_by_name(shards):
    pl.read_parquet(shards[1]).drop("scale").write_parquet(shards[1])
    with pytest.raises(DamagedFile, match=rf"{shards[1].name}: has no column 'scale'"):
        collected(shards)


def test_a_column_of_another_type_is_refused_by_name(shards):
    pl.read_parquet(shards[0]).cast({"seed": pl.Int32}).write_parquet(shards[0])
    with pytest.raises(DamagedFile, match="'seed' is Int32, not Int64"):
        collected(shards)


def test_a_truncated_shard_is_named(shards):
    shards[0].write_bytes(shards[0].read_bytes()[:100])
    with pytest.raises(DamagedFile, match=shards[0].name):
        collected(shards)


def test_among_many_shards_those_with_a_null_or_a_row_twice_are_named(shards):
    whole = pl.read_parquet(shards[1])
    for wrong, told in (
        (whole.with_columns(measure=pl.lit(None, pl.String)), "measure is null"),
        (pl.concat([whole, whole.tail(1)]), "2 rows hold the same variant"),
    ):
        wrong.write_parquet(shards[1])
        with pytest.raises(DamagedFile, match=rf"{shards[1].name}: {told}"):
            collected(shards)


def test_a_missing_shard_is_named(shards, tmp_path):
    with pytest.raises(FileNotFoundError, match=r"gone\.parquet: no such shard"):
        collected([*shards, tmp_path / "gone.parquet"])


def test_the_step_writes_the_same_bytes_twice(shards, tmp_path):
    (tmp_path / "list").write_text("\n".join(map(str, shards)) + "\n")
    found = []
    for name in ("a", "b"):
        words = ["--shards-from", tmp_path / "list", "--output", tmp_path / name]
        subprocess.run([sys.executable, "-m", "reliquant.steps.collect", *map(str, words)], check=True)
        found.append((tmp_path / name).read_bytes())
    assert found[0] == found[1]
    assert pl.read_parquet(tmp_path / "a").height == rows(SMALL).height
