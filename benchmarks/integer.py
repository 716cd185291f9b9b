"""Speed of the integer W8A8 forward of a ViT-B/32 image tower over eager FP32's, batch 64, one thread.

The sides of `benchmarks/forward.py`. `python benchmarks/integer.py [repeats] [batch] [blocks]`
"""

from __future__ import annotations

import json
from statistics import median

from forward import ratios, sizes


def main() -> None:
    found, medians = ratios(["integer"], *sizes())
    ratio = 1 / median(found["integer"])
    print(json.dumps({"name": "integer", "ratio": ratio, "target": 3.5, "better": "higher", "medians": medians}))


if __name__ == "__main__":
    main()
