import pytest
import yaml

from reliquant.plugins import PACKAGE


@pytest.fixture
def config():
    """The lab's own config, explaining and searching nothing: tests change the grid that both would name."""
    lab = yaml.safe_load((PACKAGE.parents[1] / "config" / "config.yaml").read_text())
    lab["suites"].pop("retrieval", None)
    return {k: v for k, v in lab.items() if k != "explain"}
