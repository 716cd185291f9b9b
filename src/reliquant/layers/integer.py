"""Twins that multiply integers: what the simulation of a quantized layer stands for, computed on its codes.

With input s (a - z) and weight t (w - v), codes a and w, the layer is s t (sum a u - z sum u) + bias where u = w - v.
That is one product of int8 codes, to which scale, zero point and bias are applied; sum u is known beforehand (Jacob et
al. 2018, Equation 7).
"""

from __future__ import annotations

import math

import torch
from torch import nn
from torch.nn.functional import pad

from reliquant.layers.arithmetic import affine
from reliquant.layers.int8 import Product, fast_on, takes_unsigned
from reliquant.layers.one_pass import NOTHING, on_grid
from reliquant.layers.twins import CHUNK, DynamicInput, QuantConv2d, QuantLinear, SparedInput, StaticInput, Twin

REACH = 2**22  # within this distance of ONE the float32 numbers are the whole numbers
ONE = 3.0 * REACH  # x + ONE is thus rounded to a whole number, and its lowest bits hold it: the fastest conversion
GROUPED = "a grouped convolution has no matrix product"


def unfit(layer: Twin, /) -> str:
    """Say why a twin cannot multiply integers; empty if it can."""
    weight, activation, rounding = layer.weight_grid, layer.activation_grid, _rounding(layer)
    conv = isinstance(layer, QuantConv2d)
    if conv and layer.groups > 1:
        return GROUPED
    if conv and (layer.dilation != (1, 1) or isinstance(layer.padding, str)):
        return "a convolution with dilation or padding by name"
    if layer.pads_same:
        return "a convolution that pads by the size of its input"
    if activation.floating or weight.floating:
        return f"{'activations' if activation.floating else 'weights'} stay in floating point"
    if activation.is_float or weight.is_float:
        return f"{'inputs' if activation.is_float else 'weights'} are small floats"
    if activation.granularity == "group":
        return "inputs have one scale per block"
    if activation.bits > 8 or weight.bits > 8:
        return f"codes of {max(activation.bits, weight.bits)} bits do not fit int8"
    if weight.granularity == "group":
        return "weights have one scale per group"
    if layer.held is not None:
        return "a part of the weight stays in floating point"
    if layer.codes is None or not isinstance(rounding, StaticInput | DynamicInput):
        return "weight or input is not fixed to a grid"
    if conv and isinstance(rounding, DynamicInput) and rounding.grid.granularity == "token":
        return "a convolution has no token to scale"
    if conv and isinstance(rounding, StaticInput) and not rounding.has_whole_zero:
        return "no code stands for 0, which pads a convolution"
    return "" if _whole(layer) else "weight codes less their zero point do not fit int8"


def _rounding(layer: Twin) -> nn.Module:
    return layer.input.inner if isinstance(layer.input, SparedInput) else layer.input


def _whole(layer: Twin) -> tuple[torch.Tensor, torch.Tensor] | None:
    """Return int8 codes (o, d) without a zero point and their scale (o,); None if they do not fit.

    Zero points of half a step (StatsQ, DoReFa) become whole when codes and zero points are doubled.
    """
    codes = layer.codes.flatten(1).to(layer.weight.device, torch.float32)
    scale, zero = (x.to(codes.device, torch.float32) for x in (layer.weight_scale, layer.weight_zero))
    for factor in (1, 2):
        moved = (codes - zero) * factor
        if not (moved % 1).any() and moved.min() >= -128 and moved.max() <= 127:
            return moved.to(torch.int8), (scale.double() / factor).expand(len(codes), 1)[:, 0]
    return None


class IntegerTwin(nn.Module):
    """Hold what an integer Linear and an integer convolution have in common: the codes of rows and their product.

    Attributes: `product`, the int8 kernel with the weight; `granularity`, '' for a static input and `tensor` or `token`
    for a dynamic one; `columns` and `spared`, input columns that stay in floating point and their weights, if any;
    `shift`, what is added to the codes of the grid so that they fit the kernel's type.
    """

    def __init__(self, layer: Twin, /) -> None:
        super().__init__()
        codes, scale = _whole(layer)
        self.transform, self.rounding, self.grid = layer.transform, _rounding(layer), layer.activation_grid
        self.columns = None
        if isinstance(layer.input, SparedInput):
            self.columns = layer.input.columns.long()
            codes = codes.index_fill(1, self.columns, 0)
            self.register_buffer("spared", layer.spared.float().t().contiguous())  # (k, o)
        self.granularity = "" if isinstance(self.rounding, StaticInput) else self.rounding.grid.granularity
        self.int8_original_dtype = layer.weight.dtype  # open_clip reads it from its MLPs in place of weight.dtype
        self.unsigned = takes_unsigned(codes.device)
        self.shift = -self.grid.low - (0 if self.unsigned else 2 ** (self.grid.bits - 1))
        bias = None if layer.bias is None else layer.bias.detach()
        sums = codes.sum(1, dtype=torch.float64)
        if not self.granularity:
            scale = scale * self.rounding.scale
            offset = -scale * sums * (self.rounding.zero + self.shift)
            self.product = Product(codes, scale, offset if bias is None else offset + bias)
        else:  # scale and zero point come with each input: `rows` applies them, the product only undoes the shift
            self.product = Product(codes, scale, -scale * sums * self.shift)
            self.register_buffer("sums", (scale * sums).float())  # (o,)
            self.register_buffer("bias", None if bias is None else bias.float())

    def rows(self, x: torch.Tensor, /) -> torch.Tensor:
        """Multiply transformed inputs (m, d) by the weight: (m, o), float32 unless the product ends in codes."""
        x = x.float()
        if not self.granularity:
            codes, lost = self._codes(x, 1 / torch.tensor(self.rounding.scale), self.rounding.zero)
            out = self.product(codes)
            if isinstance(lost, torch.Tensor):
                out = out.add_(lost)
            elif lost:
                out = _with_nan(out, x)
        else:
            seen = x if self.columns is None else x.index_fill(-1, self.columns, 0)
            scale, zero = self._range(seen)
            out = self.product(self.codes(seen, 1 / scale, zero))  # the scale of what holds NaN is NaN
            if not self.grid.symmetric:
                out = torch.addr(out, zero.expand(len(x), 1)[:, 0], self.sums, alpha=-1)
            out = out * scale if self.bias is None else torch.addcmul(self.bias, out, scale)
        return out if self.columns is None else out.addmm_(x[:, self.columns], self.spared)

    def codes(self, x: torch.Tensor, inverse: torch.Tensor, zero: torch.Tensor | float, /) -> torch.Tensor:
        """Return the kernel's codes of x, of its shape: round(x / scale) + zero within the grid, plus `shift`.

        Not `arithmetic.nearest_codes`: this multiplies by 1 / scale and, where it can, rounds by adding ONE.
        """
        return self._codes(x, inverse, zero)[0]

    def _codes(
        self, x: torch.Tensor, inverse: torch.Tensor, zero: torch.Tensor | float
    ) -> tuple[torch.Tensor, bool | torch.Tensor]:
        """Return the codes, and, with a static range, whether x holds NaN, for which there is none.

        A GPU, which is not waited for, gives what must be added to each row of outputs instead, (m, 1).
        """
        dynamic = isinstance(zero, torch.Tensor)
        between_codes = not dynamic and not self.rounding.has_whole_zero
        out = torch.empty(x.shape, dtype=torch.uint8 if self.unsigned else torch.int8, device=x.device)
        low, high = self.grid.low, self.grid.high
        if dynamic or between_codes or max(abs(low - zero), abs(high - zero)) > REACH:
            codes = x * inverse
            codes = codes.add_(zero).round_() if between_codes else codes.round_().add_(zero)
            codes.clamp_(low, high).add_(self.shift)
            out.copy_(codes)
            return out, not dynamic and (_added(codes) if x.is_cuda else bool(codes.sum().isnan()))
        if x.is_cuda:
            codes = on_grid(x, inverse.item(), low - zero, high - zero, move=zero + self.shift)
            return out.copy_(codes), _added(codes)
        size = CHUNK if x.device.type == "cpu" else x.numel()
        sums, factor, one = torch.empty(min(size, x.numel()), device=x.device), inverse.item(), torch.tensor(ONE)
        bits, lost = sums.view(torch.int32), False
        for some, into in zip(x.reshape(-1).split(size), out.view(-1).split(size), strict=True):
            torch.add(one, some, alpha=factor, out=sums[: len(some)]).clamp_(ONE + low - zero, ONE + high - zero)
            into.copy_(bits[: len(some)])  # only the lowest byte fits
            lost = lost or math.isnan(sums[: len(some)].sum().item())  # while they are in the cache
        move = (int(zero) + self.shift) % 256
        return out.add_(move - 256 if move > 127 and not self.unsigned else move), lost  # modulo 256

    def _range(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Return scale and zero point, (m, 1) or (1, 1), of the input at hand."""
        low, high = x.aminmax() if self.granularity == "tensor" else x.aminmax(dim=-1, keepdim=True)
        return affine(low.reshape(-1, 1), high.reshape(-1, 1), self.grid)


def _added(codes: torch.Tensor) -> torch.Tensor:
    """Return what adding it leaves every row (m, 1) as it is, but those whose codes (m, d), not yet whole, hold NaN."""
    sums = codes.sum(1, keepdim=True)
    return torch.full_like(sums, NOTHING).masked_fill_(sums.isnan(), torch.nan)


def _with_nan(out: torch.Tensor, x: torch.Tensor) -> torch.Tensor:
    """Return the outputs (m, o) of inputs (m, d) with NaN in the rows that the inputs have it in.

    Raises ValueError where the outputs are codes, which cannot say it.
    """
    lost = x.isnan().any(1)
    if out.dtype == torch.uint8:
        raise ValueError(f"{int(lost.sum())} of {len(x)} rows that a quantized layer reads hold NaN, which has no code")
    return out.masked_fill_(lost[:, None], torch.nan)


class IntegerLinear(IntegerTwin):
    """Integer twin of nn.Linear; it takes uint8 codes, too, where the layer before gives them."""

    @property
    def ends_in_product(self) -> bool:
        """Whether the product alone gives the output, so that an activation may follow in the same pass."""
        return self.unsigned and not self.granularity and self.columns is None

    @property
    def takes_codes(self) -> bool:
        """Whether the layer before may round the input, which is used as it is, to uint8 codes."""
        plain = isinstance(self.transform, nn.Identity) and self.columns is None
        static = not self.granularity and self.rounding.has_whole_zero
        return plain and static and self.unsigned and self.grid.bits == 8

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return (..., o) for (..., d), of the type of x; for codes of the type of the layer that this replaces."""
        if x.dtype == torch.uint8:
            out, kind = self.product(x.reshape(-1, x.shape[-1])), self.int8_original_dtype
        else:
            moved = self.transform(x)
            out, kind = self.rows(moved.reshape(-1, moved.shape[-1])), x.dtype
        out = out.unflatten(0, x.shape[:-1])
        return out if out.dtype == torch.uint8 else out.to(kind)

    def add_to(self, stream: torch.Tensor, codes: torch.Tensor, /) -> torch.Tensor:
        """Add the product of uint8 codes (..., d) to a stream (..., o): a float32 stream in place and in one pass."""
        if stream.dtype != torch.float32 or not stream.is_contiguous():
            return stream + self(codes).to(stream.dtype)
        self.product(codes.reshape(-1, codes.shape[-1]), stream.view(-1, stream.shape[-1]))
        return stream


class IntegerConv2d(IntegerTwin):
    """Integer twin of an ungrouped nn.Conv2d: the codes under the kernel are the rows of a matrix."""

    def __init__(self, layer: QuantConv2d, /) -> None:
        super().__init__(layer)
        self.kernel, self.stride, self.padding = layer.weight.shape[2:], layer.stride, layer.padding

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return (n, o, h', w') for (n, c, h, w), of the type of x."""
        moved = pad(self.transform(x), (self.padding[1], self.padding[1], self.padding[0], self.padding[0]))
        seen = moved.unfold(2, self.kernel[0], self.stride[0]).unfold(3, self.kernel[1], self.stride[1])
        n, _, h, w = seen.shape[:4]
        rows = seen.permute(0, 2, 3, 1, 4, 5).reshape(n * h * w, -1)  # the padding is 0, which is a code
        return self.rows(rows).unflatten(0, (n, h, w)).permute(0, 3, 1, 2).to(x.dtype)


def integer_twin(layer: Twin, /) -> IntegerTwin:
    """Make the integer twin of a frozen twin; raise ValueError if it has none."""
    if reason := unfit(layer):
        raise ValueError(reason)
    return (IntegerLinear if isinstance(layer, QuantLinear) else IntegerConv2d)(layer)


def slow(layer: Twin, /) -> str:
    """Say why integers would not be faster than the simulation of a twin; empty if they are."""
    if reason := fast_on(layer.weight.device):
        return reason
    if isinstance(layer, QuantConv2d) and layer.weight.shape[2:] != (1, 1):
        return "a convolution of more than one pixel copies its input many times"
    return ""
