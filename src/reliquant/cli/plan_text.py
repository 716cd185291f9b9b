"""What `reliquant plan` says of a model, for a terminal: a line for equal layers, or one for each."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from reliquant.cli.columns import columns, window
from reliquant.cli.equal_layers import grouped
from reliquant.report.escaping import one_line

HEAD = ("module", "layers", "MMAC each", "weight", "activation")
UNITS = "MMAC: million multiply-accumulates of one image and one caption"


def model_text(found: Mapping[str, Any], /, *, each: bool = False) -> str:
    """Lay out a model's plan, with a line for layers that are equal, or for `each` layer."""
    lines = [*_table(found["products"], each), UNITS, ""]
    lines += [f"{name}: {share:.1%}" for name, share in found["shares"].items()]
    if mended := found["compensation"]:
        more = mended["stored_bits"]
        cost = f"{mended['bits'] / 8e3:.1f} kB" + (f", {more:.3f} stored bits a weight more" if more else "")
        lines.append(f"compensation of {len(mended['blocks'])} blocks: {cost}")
        lines += [f"no compensation of {name}: it gives other places than it takes" for name in mended["without"]]
    if found["from_data"]:
        lines.append("the method decides part of this by its data, which here were random images")
    if found["by_shapes"]:
        lines.append("planned by the model's shapes alone: what a method decides by its data shows when it quantizes")
    if found["warning"]:
        lines.append(f"warning: {found['warning']}")
    return "\n".join(lines)


def _table(products: list[dict[str, Any]], each: bool) -> list[str]:
    """Lay out products in columns; what stays FP32 says why in place of its grids."""
    lines = []
    for name, members in [(p["module"], [p]) for p in products] if each else grouped(products):
        first = members[0]
        macs = f"{first['macs'] / 1e6:,.2f}" if first["macs"] else ""
        cells = [name or "(the model itself)", *([] if each else [str(len(members))]), macs]
        if first["reason"] and first["weight"] == first["activation"] == "fp32":
            cells.append(f"fp32: {first['reason']}")
        else:
            said = f" ({first['reason']})" if first["reason"] else ""
            cells += [first["weight"], first["activation"] + said]
        lines.append([one_line(cell) for cell in cells])
    head = [word for word in HEAD if not (each and word == "layers")]
    return columns(head, lines, right=("layers", "MMAC each"), width=window())
