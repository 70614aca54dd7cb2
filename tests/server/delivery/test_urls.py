"""URLs in every notation that has fooled somebody: one reading, for the check and for the connection."""

import pytest
from yarl import URL

from triptych.server.delivery.addresses import RefusedError
from triptych.server.delivery.urls import canonical_host, parse_url, redirect_url


@pytest.mark.parametrize(
    ("text", "read"),
    [
        ("http://example.com", "http://example.com/"),
        ("  HTTPS://EXAMPLE.com:443/a.png\n", "https://example.com/a.png"),
        ("http://example.com./a#b", "http://example.com/a"),
        ("http://example.com:8080?a=1", "http://example.com:8080/?a=1"),
        ("http://bücher.example/ü é.png?q=ß", "http://xn--bcher-kva.example/%C3%BC%20%C3%A9.png?q=%C3%9F"),
        ("http://example。com/", "http://example.com/"),
        ("http://ｅｘａｍｐｌｅ.com/", "http://example.com/"),
        ("http://a_b.example/", "http://a_b.example/"),
        ("http://[2001:DB8::1]:81/x", "http://[2001:db8::1]:81/x"),
        ("http://[::ffff:127.0.0.1]/", "http://[::ffff:7f00:1]/"),
        ("http://127.0.0.1./", "http://127.0.0.1/"),
        ("http://127。0。0。1/", "http://127.0.0.1/"),
        ("http://１２７.0.0.1/", "http://127.0.0.1/"),
        ("http://①②⑦.0.0.1/", "http://127.0.0.1/"),
        ("http://ⓛocalhost/", "http://localhost/"),
        ("http://example.com?@127.0.0.1/", "http://example.com/?@127.0.0.1/"),
        ("http://example.com#@127.0.0.1/", "http://example.com/"),
    ],
)
def test_a_url_has_one_reading(text, read):
    url = parse_url(text)
    assert str(url) == read
    assert str(parse_url(str(url))) == read


def test_path_and_query_stay_as_written_for_the_signature_over_them():
    text = "https://bucket.example/a%2Cb%3d/%7e.png?sig=a%2Fb%2b%3D&x=,+&y"
    assert parse_url(text).raw_path_qs == text.removeprefix("https://bucket.example")


@pytest.mark.parametrize(
    ("text", "rule"),
    [
        ("", "must begin with http:// or https://"),
        ("example.com/a.png", "must begin with"),
        ("//example.com/a.png", "must begin with"),
        ("ftp://example.com/a.png", "must begin with"),
        ("file:///etc/passwd", "must begin with"),
        ("gopher://127.0.0.1:6379/_x", "must begin with"),
        ("javascript:alert(1)", "must begin with"),
        ("http:///a.png", "no host"),
        ("http:/127.0.0.1/", "no host"),
        ("http:127.0.0.1", "no host"),
        ("http://", "no host"),
        ("http://user@127.0.0.1/", "user name"),
        ("http://user:secret@example.com/", "user name"),
        ("http://:@example.com/", "user name"),
        ("http://example.com@127.0.0.1/", "user name"),
        ("http://a@b@127.0.0.1/", "user name"),
        ("http://127.0.0.1:80@example.com/", "user name"),
        ("http://example.com\\@127.0.0.1/", "backslash"),
        ("http://127.0.0.1\\@example.com/", "backslash"),
        ("http:\\\\127.0.0.1\\", "backslash"),
        ("http://example.com/a\\b", "backslash"),
        ("http://local\thost/", "control character"),
        ("http://example.com/\r\nX: y", "control character"),
        ("http://127.0.0.1\x00.example.com/", "control character"),
        ("http://example.com:99999/", "cannot be read"),
        ("http://example.com:-1/", "cannot be read"),
        ("http://example.com:80:80/", "cannot be read"),
        ("http://example.com:0/", "port 0"),
        ("http://[::1/", "cannot be read"),
        ("http://[127.0.0.1]/", "cannot be read"),
        ("http://\ud800.example/", "control character"),
        ("http://example.com/\ud800", "control character"),
        ("http://2130706433/", "host"),
        ("http://017700000001/", "host"),
        ("http://0/", "host"),
        ("http://127.1/", "host"),
        ("http://127.0.1/", "host"),
        ("http://0177.0.0.1/", "host"),
        ("http://127.0.0.01/", "host"),
        ("http://0x7f.1/", "host"),
        ("http://0x7f000001/", "host"),
        ("http://0X7F.0x0.0x0.0x1/", "host"),
        ("http://256.0.0.1/", "host"),
        ("http://1.2.3.4.5/", "host"),
        ("http://example.0x7f/", "host"),
        ("http://127%2e0%2e0%2e1/", "host"),
        ("http://[fe80::1%25lo]/", "host"),
        ("http://a..b/", "host"),
        ("http://.example.com/", "host"),
        ("http://example.com../", "host"),
        ("http://exam ple.com/", "host"),
        ("http://*/", "host"),
        ("http://" + "a" * 64 + ".example/", "host"),
        ("http://" + "a." * 150 + "example/", "host"),
        ("http://example.com/" + "a" * 9000, "longer than 8,192"),
    ],
)
def test_what_is_read_in_two_ways_or_not_at_all_is_refused(text, rule):
    with pytest.raises(RefusedError, match=rule) as error:
        parse_url(text)
    assert "\n" not in str(error.value)


def test_schemes_are_the_caller_s_choice():
    assert parse_url("https://example.com/hook", ("https",)).scheme == "https"
    with pytest.raises(RefusedError, match=r"must begin with https://$"):
        parse_url("http://example.com/hook", ("https",))


@pytest.mark.parametrize(
    ("location", "target"),
    [
        ("b.png", "https://example.com/x/b.png"),
        ("/b.png?c", "https://example.com/b.png?c"),
        ("//other.example/b", "https://other.example/b"),
        ("https://OTHER.example:81", "https://other.example:81/"),
        ("?d", "https://example.com/x/a.png?d"),
        ("/caf\udce9.png", "https://example.com/caf%E9.png"),
    ],
)
def test_redirects_lead_where_they_say(location, target):
    assert str(redirect_url(URL("https://example.com/x/a.png?y"), location)) == target


@pytest.mark.parametrize(
    ("location", "rule"),
    [
        ("http://example.com/a", "from https to http"),
        ("file:///etc/passwd", "it redirects, and the URL must begin with"),
        ("data:image/png;base64,AAAA", "must begin with"),
        ("https://user:pw@example.com/", "user name"),
        ("//2130706433/", "host"),
        ("https://[::1", "cannot be read"),
        ("\\\\127.0.0.1\\", "backslash"),
        ("/\ud800", "control character"),
    ],
)
def test_redirects_obey_the_same_rules(location, rule):
    with pytest.raises(RefusedError, match=rule):
        redirect_url(URL("https://example.com/"), location)


def test_a_redirect_from_http_to_https_is_fine():
    assert str(redirect_url(URL("http://example.com/"), "https://example.com/")) == "https://example.com/"


@pytest.mark.parametrize("host", ["example.com", "EXAMPLE.com.", "example。com"])
def test_a_host_has_one_form(host):
    assert canonical_host(host) == "example.com"
