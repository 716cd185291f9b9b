"""Whether torch.export is tracing a model, in every release of torch that the package takes."""

import torch

is_exporting = getattr(torch.compiler, "is_exporting", torch.compiler.is_compiling)  # 2.6 has the second alone
