"""The demo's picture and its count."""

from earmark.app.timeline import Extent, draw, found

TRUTH = [Extent("dog", 1.0, 2.0), Extent("rain", 5.0, 10.0), Extent("dog", 7.0, 8.0)]


def test_found_wants_label_and_overlap():
    assert found(TRUTH, [Extent("dog", 1.9, 2.5), Extent("rain", 4.0, 5.0), Extent("cat", 7.0, 8.0)]) == TRUTH[:1]


def test_touching_is_not_overlapping():
    assert found(TRUTH, [Extent("dog", 2.0, 3.0), Extent("dog", 0.0, 1.0)]) == []


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
