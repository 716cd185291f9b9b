import subprocess
import sys


def test_open_clip_is_imported_without_dynamo_which_works_afterwards():
    code = (
        "import sys; from reliquant.models.openclip import open_clip; print('torch._dynamo' in sys.modules);"
        "import torch; print(torch.compiler.disable.__module__);"
        "print(torch.compile(lambda x: x + 1, backend='eager')(torch.ones(2)).tolist());"
        "from torchvision.ops.roi_align import is_compile_supported; print(is_compile_supported('cpu'));"
        "print(open_clip.timm_model.timm.create_model('test_convnext')(torch.zeros(1, 3, 64, 64)).shape[1])"
    )
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout.split("\n")[:5] == ["False", "torch.compiler", "[2.0, 2.0]", "True", "1000"]
