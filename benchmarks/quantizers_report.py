"""What `benchmarks/quantizers.py` makes of its figures: tables in Markdown, a CSV of all, and a picture."""

from __future__ import annotations

import csv
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml
from matplotlib.figure import Figure
from scipy.stats import binomtest

from reliquant.measures.stats import holm

MARKS = "os^Dv<>PX*ph8d"
Found = Mapping[tuple[str, ...], dict[str, Any]]
WEIGHT_GRIDS = {  # on which weight-only methods are compared with one another
    "channel": "granularity: channel, symmetric: false",
    "group 32": "granularity: group, group: 32, symmetric: false",
    "group 64": "granularity: group, group: 64, symmetric: false",
    "group 128": "granularity: group, group: 128, symmetric: false",
}
REFUSED = {"takes plain integers only": "integers only", "do not divide": "blocks do not fit"}


def print_tables(known: Found, fp32: Mapping[str, dict[str, Any]], groups: Sequence[list[str]], **told: Any) -> None:
    """Print tables a model, one for each group of precisions: methods down, fewest stored bits first."""
    print(
        """# Every quantizer on the lab's models

Made by `python benchmarks/quantizers.py`; read in [quantizers](quantizers.md). The lab is synthetic. A cell: zero-shot
top-1 in % on five sets of {IMAGES} images (change to FP32 ± 95 % interval, paired); stored bits of a quantized weight,
with its scales and zero points, which order the lines. Stars: the exact McNemar test of images lost and won against
FP32, corrected by Holm over all cells of a model: * p < .05, ** p < .01, *** p < .001. Image tower, one seed, {PAIRS}
captioned images as proxy; training: {TRAINING}. [All figures](quantizers.csv): ECE, bytes, seconds,
dead channels;
"depthwise W8A8": blocks of 16 or 32 do not divide the 49 weights of a 7 x 7 kernel, so that these layers get INT8.

![top-1 against stored bits](quantizers.png)""".format(**told)
    )
    for model, base in fp32.items():
        found = {case[1:]: one for case, one in known.items() if case[0] == model}
        stars = stars_of(found)
        print(f"\n## {model}: FP32 top-1 {100 * base['accuracy']:.1f} %, ECE {100 * base['ece']:.1f} %")
        for across in groups:
            print(f"\n| quantizer | {' | '.join(p.upper() for p in across)} |")
            print("|---" * (len(across) + 1) + "|")
            shown = dict.fromkeys(name for name, precision in found if precision in across)
            for name in sorted(shown, key=lambda name: order(found, name, across)):
                cells = [cell(found.get((name, p)), stars.get((name, p), "")) for p in across]
                print(f"| {short(name)} | {' | '.join(cells)} |")


def order(found: Found, name: str, across: list[str]) -> tuple[float, float]:
    """Return what sorts the lines of a table: stored bits at the last precision that a method takes, then accuracy."""
    taken = [found[name, p] for p in across if "accuracy" in found.get((name, p), {})]
    return (round(taken[-1]["stored_bits"], 2), -taken[-1]["accuracy"]) if taken else (math.inf, 0)


def stars_of(found: Found) -> dict[tuple[str, ...], str]:
    """Return the stars of each cell of a model: exact McNemar tests, corrected by Holm over all of them."""
    tested = [key for key, one in found.items() if "accuracy" in one]
    p = holm([binomtest(one["lost"], max(one["lost"] + one["gained"], 1)).pvalue for one in map(found.get, tested)])
    return {
        key: "*" * sum(value < limit for limit in (0.05, 0.01, 0.001)) for key, value in zip(tested, p, strict=True)
    }


def short(name: str) -> str:
    """Return a scheme as a table's reader wants it: the method and what differs from its usual grid."""
    if not name.startswith("{"):
        return name
    words = yaml.safe_load(name)
    told = [word for word, grid in WEIGHT_GRIDS.items() if words.get("weight") == yaml.safe_load(f"{{{grid}}}")]
    told += ["inputs per token"] if "activation" in words else []
    told += ["depthwise W8A8"] if "layers" in words else []
    told += [
        f"{word} {words[word]}" for word in words if word not in ("quantizer", "weight", "activation", "grid", "layers")
    ]
    return f"{words['quantizer']}, {', '.join(told)}"


def cell(found: dict[str, Any] | None, stars: str) -> str:
    if found is None:
        return ""
    if "refused" in found:
        known = {word: told for word, told in REFUSED.items() if word in found["refused"]}
        return next(iter(known.values()), "refused: " + found["refused"])
    points = [100 * found[k] for k in ("accuracy", "change", "half")]
    dead = f", {found['dead']} channels dead" if found["dead"] else ""
    return "{:.1f} ({:+.1f} ± {:.1f}){}; {:.2f}{}".format(*points, stars, found["stored_bits"], dead)


def write_csv(path: Path, known: Found) -> None:
    """Write all figures, a line a case, by model, precision and stored bits."""
    numbers = ["stored_bits", "accuracy", "change", "half", "lost", "gained", "ece", "size", "seconds", "dead"]
    with path.open("w", newline="") as file:
        table = csv.writer(file, lineterminator="\n")
        table.writerow(["model", "quantizer", "precision", *numbers, "refused"])
        for case, one in sorted(
            known.items(), key=lambda item: (item[0][0], item[0][2], item[1].get("stored_bits", 0))
        ):
            figures = [f"{one[name]:.6g}" if name in one else "" for name in numbers]
            table.writerow([case[0], short(case[1]), case[2], *figures, one.get("refused", "")])


def method_of(name: str) -> str:
    """Return the method of a scheme, with the correction after it."""
    words = yaml.safe_load(name) if name.startswith("{") else {"quantizer": name}
    return words["quantizer"] + "".join(f" + {word}" for word in ("bias_correction", "compensation") if word in words)


def draw(path: Path, known: Found, fp32: Mapping[str, dict[str, Any]], precisions: Sequence[str]) -> None:
    """Draw top-1 against stored bits where weights alone are rounded, a panel a model; the best so far are joined."""
    figure = Figure(figsize=(4.2 * len(fp32), 4.6), layout="constrained")
    panels = figure.subplots(1, len(fp32), sharey=True)
    shown = {case: one for case, one in known.items() if case[2] in precisions and "accuracy" in one}
    methods = list(dict.fromkeys(method_of(case[1]) for case in shown))
    for panel, (model, base) in zip(panels, fp32.items(), strict=True):
        points = [
            (one["stored_bits"], 100 * one["accuracy"], method_of(case[1]))
            for case, one in shown.items()
            if case[0] == model
        ]
        for number, method in enumerate(methods):
            bits, accuracy = ([point[axis] for point in points if point[2] == method] for axis in (0, 1))
            mark, colour = MARKS[number % len(MARKS)], f"C{number % 10}"
            panel.scatter(bits, accuracy, marker=mark, color=colour, s=26, label=method, alpha=0.8)
        best = [point for point in points if all(other[1] < point[1] for other in points if other[0] < point[0])]
        best = [point for point in sorted(best) if all(o[1] <= point[1] for o in best if o[0] == point[0])]
        panel.plot([point[0] for point in best], [point[1] for point in best], color="black", linewidth=0.8, zorder=0)
        panel.axhline(100 * base["accuracy"], color="grey", linestyle=":", linewidth=1)
        panel.set(title=model, xlabel="stored bits of a weight", xlim=(2, 5.5), ylim=(40, 92))
    panels[0].set_ylabel("zero-shot top-1, %")
    figure.legend(*panels[0].get_legend_handles_labels(), loc="outside lower center", ncols=9, fontsize=8)
    figure.savefig(path, dpi=110)
