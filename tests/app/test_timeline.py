"""The demo's picture and its count."""

from earmark.app.timeline import Extent, draw, found

TRUTH = [Extent("dog", 1.0, 2.0), Extent("rain", 5.0, 10.0), Extent("dog", 7.0, 8.0)]


def test_a_quarter_heard_is_found():
    assert found(TRUTH, [Extent("rain", 6.0, 7.25)]) == [TRUTH[1]]
    assert found(TRUTH, [Extent("rain", 6.0, 7.24)]) == []
    assert found(TRUTH, [Extent("rain", 6.0, 6.7), Extent("rain", 8.0, 8.7)]) == [TRUTH[1]]
    assert found(TRUTH, [Extent("cat", 5.0, 10.0), Extent("rain", 0.0, 4.0), Extent("rain", 10.0, 20.0)]) == []


def test_a_beginning_in_time_is_found():
    assert found(TRUTH, [Extent("rain", 5.5, 5.6)]) == found(TRUTH, [Extent("rain", 4.5, 4.6)]) == [TRUTH[1]]
    assert found(TRUTH, [Extent("rain", 5.6, 5.7)]) == []


def test_picture():
    detected = [Extent("dog", 1.0, 2.0), Extent("dog", 7.5, 7.6), Extent("cat", 0.0, 0.01)]
    assert draw(TRUTH, detected, 10.0, 34).splitlines() == [
        "       0 s       5 s       10 s",
        "✓ dog  ··░░··········░░····  true",
        "       ··██···········█····  heard",
        "✗ rain ··········░░░░░░░░░░  true",
        "       ····················  heard",
        "+ cat  █···················  heard",
    ]


def test_no_line_is_wider_than_asked():
    for width in (60, 80, 100):
        assert max(map(len, draw(TRUTH, [], 30.0, width).splitlines())) <= width
