"""Search the embeddings of a variant, each caption for its image and the reverse: values with intervals, as rows."""

from __future__ import annotations

import argparse
import json
from pathlib import Path

from reliquant.evaluation.belonging import identities
from reliquant.evaluation.retrieve import rows_of
from reliquant.evaluation.stored_embeddings import load_embeddings, require_embeddings_of
from reliquant.files.artifacts import provenance, save_frame
from reliquant.steps import run
from reliquant.study.config import RETRIEVAL


def main() -> None:
    """Parse, read the embeddings, search, save the rows."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--embeddings", type=Path, required=True)
    parser.add_argument("--baseline", type=Path, help="the embeddings of FP32; none for FP32 itself")
    parser.add_argument("--labels", type=json.loads, required=True, help="the row columns of this variant, JSON")
    parser.add_argument("--indexes", type=json.loads, default={}, help="words of stored forms, by name, JSON")
    parser.add_argument("--resamples", type=int, default=10_000)
    parser.add_argument("--output", type=Path, required=True)
    args = parser.parse_args()
    require_embeddings_of(args.labels, args.embeddings, args.baseline)
    own, header = load_embeddings(args.embeddings)
    fp32 = load_embeddings(args.baseline)[0] if args.baseline else {}
    words = {"indexes": args.indexes, "resamples": args.resamples}
    frame = rows_of(own, fp32, header["sets"], args.labels, **words)
    made_of = identities([args.embeddings, *filter(None, [args.baseline])])
    used = header.get("backend")
    computed = {"backend": used.get("used", "") if isinstance(used, dict) else "", "dtype": header.get("dtype", "")}
    facts = {"labels": args.labels, "suites": [RETRIEVAL], "indexes": args.indexes, "made_of": made_of}
    save_frame(args.output, frame, provenance(kind="retrieval", **facts, **computed, device=header.get("device", "")))


if __name__ == "__main__":
    run(main)
