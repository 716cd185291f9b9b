"""The page that one starts with shows what its commands print."""

import re
import shlex

from reliquant import plugins
from reliquant.cli.main import main

PAGE = (plugins.PACKAGE.parents[1] / "docs" / "start.md").read_text()
NEAR = {"accuracy": 0.6, "squared_ce": 3, "mcm_auroc": 0.6}  # other processors round a few of 800 answers otherwise


def test_its_commands_print_what_it_shows(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    commands = re.findall(r"^ {4}reliquant (.*)$", re.sub(r" \\\n +", " ", PAGE), re.M)
    assert [command.split()[0] for command in commands] == ["quantize", "evaluate", "check", "report"]
    printed = {}
    for command in commands[:3]:
        main(shlex.split(command))
        printed[command.split()[0]] = capsys.readouterr().out
    (shown,) = re.findall(r"```text\n(.*?)```", PAGE, re.S)
    for line in shown.splitlines():
        (found,) = re.findall(rf"^ +{line.split()[0]} .*$", printed["evaluate"], re.M)
        assert re.sub(r"[-+]?[\d.]+", "0", found).split() == re.sub(r"[-+]?[\d.]+", "0", line).split()
        numbers = [[float(n) for n in re.findall(r"[-+]?\d+\.\d+", text)] for text in (line, found)]
        apart = [abs(a - b) for a, b in zip(*numbers, strict=True)]
        assert max(apart) < NEAR[line.split()[0]], f"the page shows {line}, printed was {found}"
    assert "accuracy_change >= -0.03" in printed["check"]
    assert "holds" in printed["check"]
