"""X-Forwarded-For is believed from named proxies only."""

import pytest
from starlette.requests import Request

from iotistic.control.access.addresses import ClientAddresses, ProxySettings
from iotistic.kernel.settings import SettingsInvalid, load_settings

PROXIES = "10.0.0.0/8, 2001:db8:1::/48"


def request(connection, *forwarded):
    headers = [(b"x-forwarded-for", line.encode()) for line in forwarded]
    return Request({"type": "http", "client": (connection, 40000), "headers": headers})


@pytest.mark.parametrize(
    ("connection", "forwarded", "address"),
    [
        ("203.0.113.5", [], "203.0.113.5"),
        ("203.0.113.5", ["127.0.0.1"], "203.0.113.5"),
        ("10.0.0.1", ["198.51.100.1"], "198.51.100.1"),
        ("10.0.0.1", ["127.0.0.1, 198.51.100.1"], "198.51.100.1"),
        ("10.0.0.1", ["127.0.0.1", "198.51.100.1, 10.0.0.2"], "198.51.100.1"),
        ("10.0.0.1", ["127.0.0.1, rubbish"], "10.0.0.1"),
        ("10.0.0.1", ["198.51.100.1, rubbish, 10.0.0.2"], "10.0.0.2"),
        ("10.0.0.1", [""], "10.0.0.1"),
        ("::ffff:10.0.0.1", ["198.51.100.1"], "198.51.100.1"),
        ("2001:db8:1::9", ["2001:db8:ffff::7"], "2001:db8:ffff::7"),
        ("10.0.0.1", ["10.0.0.3, 10.0.0.2"], "10.0.0.3"),
    ],
)
def test_the_nearest_address_that_is_no_proxy_counts(connection, forwarded, address):
    addresses = ClientAddresses.of(ProxySettings(trusted_proxies=PROXIES))

    assert addresses.address(request(connection, *forwarded)) == address


def test_without_named_proxies_nobody_is_believed():
    asked = request("127.0.0.1", "198.51.100.1")

    assert ClientAddresses.of(ProxySettings()).address(asked) == "127.0.0.1"


@pytest.mark.parametrize(
    ("connection", "site"),
    [
        ("203.0.113.5", "203.0.113.5"),
        ("::ffff:203.0.113.5", "203.0.113.5"),
        ("2001:db8::1:2:3:4", "2001:db8::/64"),
        ("2001:db8::ffff:2:3:4", "2001:db8::/64"),
        ("a socket", "a socket"),
    ],
)
def test_all_addresses_of_an_ipv6_site_count_as_one(connection, site):
    assert ClientAddresses().site(request(connection)) == site


@pytest.mark.parametrize("value", ["everybody", "10.0.0.1/8", "10.0.0.0/8; 10.1.0.1"])
def test_proxies_that_are_no_addresses_are_refused(value):
    with pytest.raises(SettingsInvalid, match="TRUSTED_PROXIES"):
        load_settings(ProxySettings, trusted_proxies=value)
