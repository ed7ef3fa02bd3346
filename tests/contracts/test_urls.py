"""Addresses with credentials: encoded by us, and never shown."""

import re
from urllib.parse import parse_qs, unquote, urlsplit

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from earmark.contracts.errors import ConfigError
from earmark.contracts.urls import fill_url, normalise_url, redact_text, redact_url

VARIABLE = re.compile(r"\$\{(?P<name>\w+)\}")
ENCODED = re.compile(r"(?:[A-Za-z0-9\-._~!$&'()*+,;=:]|%[0-9A-Fa-f]{2})*")


def filled(template, **values):
    return fill_url(template, VARIABLE, lambda match: values[match["name"]])


@pytest.mark.parametrize(
    ("shown", "as_it_is"),
    [
        ("rtsp://user:***@host:554/a", "rtsp://user:secret@host:554/a"),
        ("rtsp://user:***@b", "rtsp://user:s:e@cr@t@host:554/a@b"),
        ("rtsp://***@home.org:***@host/a", "rtsp://me@home.org:secret@host/a"),
        ("rtsp://user:***@host/a", "rtsp://user:sec/r?e#t@host/a"),
        ("rtsp://user:***@host/a", "rtsp://user:554/r@host/a"),
        ("rtsp://user:***@host/a", "rtsp://user:pass word@host/a"),
        ("http://u:***@[::1]:80/a", "http://u:secret@[::1]:80/a"),
        ("http://***@host/a", "http://TOKEN@host/a"),
        ("http://host/video?***", "http://host/video?user=a&pwd=secret"),
        ("http://host/video#***", "http://host/video#secret"),
        ("rtsp://host/user=admin&password=***", "rtsp://host/user=admin&password=tlJwpbo6&channel=1/0.sdp"),
        ("http://host/cgi/authToken=***", "http://host/cgi/authToken=s3/cret"),
        ("http://host:***@b", "http://host:80/a@b"),
    ],
)
def test_what_may_be_secret_in_an_address_is_not_shown(shown, as_it_is):
    assert redact_url(as_it_is) == shown


@pytest.mark.parametrize(
    "harmless",
    ["http://host:80/a", "rtsp://[::1]:554/a@b", "udp://@239.0.0.1:1234", "what? nothing", "{sound} at 10:30 @ gate"],
)
def test_what_holds_no_secret_is_shown(harmless):
    assert redact_url(harmless) == harmless
    assert redact_text(harmless) == harmless


def test_every_address_in_a_text_is_redacted():
    text = "[Errno 5] 'rtsp://u:p%40w@a/live?k=1', then http://u:p@b/c"
    assert redact_text(text) == "[Errno 5] 'rtsp://u:***@a/live?*** then http://u:***@b/c"


@given(st.text(min_size=1))
@example("p@ss#1")
@example("a/b?c")
@example("554/x")
@example("a@b:80/c")
def test_no_password_whatever_its_characters_is_shown(password):
    assert redact_url(f"rtsp://viewer:{password}@camera:554/live") == "rtsp://viewer:***@camera:554/live"


@given(st.text(min_size=1))
@example("p@ss#1")
@example("a/b?c")
@example("100%")
@example("50%25#")
def test_a_password_from_a_variable_arrives_as_it_is(password):
    url = normalise_url(filled("rtsp://viewer:${PASSWORD}@camera:554/live?pw=${PASSWORD}", PASSWORD=password))
    parts = urlsplit(url)
    assert (parts.hostname, parts.port, parts.username, parts.path) == ("camera", 554, "viewer", "/live")
    if ENCODED.fullmatch(password) is None:
        assert unquote(parts.password) == password
        assert parse_qs(parts.query, keep_blank_values=True, errors="strict")["pw"] == [password]
    assert redact_url(url) == "rtsp://viewer:***@camera:554/live?***"


def test_a_variable_that_is_encoded_already_stays_as_it_is():
    assert filled("rtsp://v:${P}@host/", P="p%40ss%231") == "rtsp://v:p%40ss%231@host/"


def test_a_variable_may_hold_user_and_password():
    assert filled("rtsp://${LOGIN}@host/", LOGIN="viewer:p@ss") == "rtsp://viewer:p%40ss@host/"


def test_bytes_that_are_no_utf_8_are_encoded():
    assert filled("rtsp://v:${P}@host/", P="a\udcff") == "rtsp://v:a%FF@host/"


@pytest.mark.parametrize(
    ("template", "value"),
    [
        ("rtsp://${V}/live", "host:554"),
        ("rtsp://host/${V}", "live/1?x=2"),
        ("${V}", "rtsp://u:p@host/a?b#c"),
        ("a text, no address: ${V}", "a/b?c#d@e"),
    ],
)
def test_variables_elsewhere_are_taken_as_they_are(template, value):
    assert filled(template, V=value) == template.replace("${V}", value)


@pytest.mark.parametrize(
    ("url", "normal"),
    [
        ("rtsp://me@home.org:p@ss@host/a", "rtsp://me%40home.org:p%40ss@host/a"),
        ("rtsp://v:50%@host/a", "rtsp://v:50%25@host/a"),
        ("rtsp://v:p%40@host/a?b@c", None),
        ("rtsp://host/a@b", "rtsp://host/a@b"),
        ("rtsp://[fe80::1]:554/a@b", "rtsp://[fe80::1]:554/a@b"),
        ("srt://:9000?mode=listener", "srt://:9000?mode=listener"),
        ("udp://@239.0.0.1:1234", "udp://@239.0.0.1:1234"),
        ("file:///a/b.wav", "file:///a/b.wav"),
        ("http://host:port/SECRET", None),
        ("http://viewer:SEC#RET@host/", None),
        ("viewer:SECRET@host/a", None),
    ],
)
def test_credentials_are_encoded_and_what_is_ambiguous_is_refused(url, normal):
    if normal is not None:
        assert normalise_url(url) == normal
        assert normalise_url(normal) == normal
        return
    with pytest.raises(ConfigError, match="expected") as caught:
        normalise_url(url)
    assert "SEC" not in str(caught.value)
