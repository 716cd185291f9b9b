import json


def test_a_few_studies_at_the_bound_are_judged_and_hardly_any_passes(ran):
    done = ran("gate", "--quick")
    assert done.returncode == 0, done.stderr
    lines = done.stdout
    table, last = lines.splitlines()[:-3], json.loads(lines.splitlines()[-1])
    assert (last["name"], len(table)) == ("gate", 2 + 2 * 2)
    assert last["ratio"] >= 0.95  # of six draws: a verdict that passes what is false half the time would show
    assert "accuracy_change, squared_ce_change" in lines.splitlines()[-2]
