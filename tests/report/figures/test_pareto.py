import polars as pl

from reliquant.report.figures.pareto import front


def test_the_front_holds_what_nothing_smaller_beats():
    points = pl.DataFrame({"size": [1.0, 1.0, 2.0, 3.0, 3.0], "value": [5.0, 6.0, 4.0, 7.0, 6.5]})
    assert front(points, highest=True).select("size", "value").rows() == [(1.0, 6.0), (3.0, 7.0)]
    assert front(points, highest=False).select("size", "value").rows() == [(1.0, 5.0), (2.0, 4.0)]
