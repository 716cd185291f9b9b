"""How often Snakemake looks for jobs, in the real workflow."""

import os
from pathlib import Path

import pytest
from forked_programs import forked_path, run_snakemake

ROOT = Path(__file__).resolve().parents[2]
DIGITS = "data/prepared/digits/native/meta.json"
AROUND = f"""
include: "{ROOT}/workflow/Snakefile"


onsuccess:
    limiter = workflow.scheduler.job_rate_limiter
    print("limit:", limiter and (limiter.max_jobs, limiter.timespan))
"""


@pytest.mark.parametrize(("words", "limit"), [([], "None"), (["--max-jobs-per-timespan", "7/2s"], "(7, 2.0)")])
def test_a_limit_of_jobs_a_second_is_one_that_was_asked_for(tmp_path, words, limit):
    (tmp_path / "Snakefile").write_text(AROUND)
    environment = {**os.environ, "PATH": forked_path()}
    config = ["--configfile", ROOT / ".test" / "config" / "config.yaml"]
    done = run_snakemake("--cores", "1", *config, *words, "--", DIGITS, cwd=tmp_path, env=environment)
    assert done.returncode == 0, done.stderr[-3000:]
    assert f"limit: {limit}\n" in done.stdout + done.stderr
    assert (tmp_path / DIGITS).exists()
