"""Who may use the device API."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from iotistic.agent.local_api.access import (
    Asking,
    HostRefused,
    Mode,
    OriginRefused,
    PeerRefused,
    Policy,
    is_same,
    key_in,
    plain_address,
)
from iotistic.agent.local_api.attempts import WrongKeys
from iotistic.agent.local_api.problems import RateLimited, Unauthenticated
from iotistic.kernel.errors import Denied

KEY = "dev_0123456789abcdef"
LOCAL = ("127.0.0.1", "127.8.9.1", "::1", "::ffff:127.0.0.1")
NEAR = ("10.0.0.1", "172.16.0.1", "172.31.255.254", "192.168.1.9", "169.254.3.4", "fe80::1%eth0", "fd12::1")
FAR = ("8.8.8.8", "172.32.0.1", "192.0.2.1", "198.18.0.1", "100.64.0.1", "2001:db8::1", "::ffff:8.8.8.8")
UNKNOWN = ("", "unix", "127.0.0.1.evil")


def asking(peer="127.0.0.1", host="localhost:48484", **headers):
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return Asking(peer, {"Host": host, **named})


def is_let_in(policy, given):
    try:
        policy.check_sender(given)
        policy.check_key(given, KEY)
    except Denied:
        return False
    return True


@pytest.mark.parametrize(
    ("mode", "peers"),
    [
        (Mode.LOCALHOST_ONLY, LOCAL),
        (Mode.LOCAL_NETWORK, LOCAL + NEAR),
        (Mode.API_KEY, LOCAL + NEAR + FAR),
        (Mode.OPEN, LOCAL + NEAR + FAR),
    ],
)
def test_each_mode_lets_in_its_peers_and_no_others(mode, peers):
    everybody = LOCAL + NEAR + FAR
    let_in = [
        peer for peer in everybody if is_let_in(Policy(mode), asking(peer, Authorization=f"Bearer {KEY}"))
    ]

    assert tuple(let_in) == peers
    assert not [
        peer for peer in UNKNOWN if mode is Mode.LOCALHOST_ONLY and is_let_in(Policy(mode), asking(peer))
    ]


@pytest.mark.parametrize("name", ["X-Forwarded-For", "Forwarded", "X-Real-IP", "Client-IP", "True-Client-IP"])
@pytest.mark.parametrize("mode", [Mode.LOCALHOST_ONLY, Mode.LOCAL_NETWORK])
def test_what_a_header_claims_of_the_caller_changes_nothing(mode, name):
    given = Asking("8.8.8.8", {"Host": "localhost", "Authorization": f"Bearer {KEY}", name: "127.0.0.1"})
    with pytest.raises(PeerRefused):
        Policy(mode).check_sender(given)


@pytest.mark.parametrize(
    "host",
    [
        "evil.example",
        "evil.example:48484",
        "",
        "127.0.0.1.evil.example",
        "localhost.evil",
        "0.0.0.0",
        "[::1",
        "local host",
    ],
)
def test_a_name_that_somebody_else_can_point_here_is_refused_where_no_key_is_needed(host):
    for mode in (Mode.LOCALHOST_ONLY, Mode.OPEN):
        with pytest.raises(HostRefused):
            Policy(mode if host != "0.0.0.0" else Mode.LOCALHOST_ONLY).check_sender(asking(host=host))


@pytest.mark.parametrize("host", ["localhost", "LOCALHOST:1", "127.0.0.1:48484", "[::1]:48484", "localhost."])
def test_the_names_of_this_machine_are_good(host):
    Policy().check_sender(asking(host=host))


def test_an_open_device_is_called_by_an_address_or_its_own_name():
    policy = Policy(Mode.OPEN, names=frozenset({"pump"}))
    for host in ("192.168.1.9:48484", "[fd12::1]", "pump", "PUMP:48484", "pump.local"):
        policy.check_sender(asking("192.168.1.2", host))


@pytest.mark.parametrize("mode", Mode)
@pytest.mark.parametrize(
    "headers",
    [
        {"Origin": "https://evil.example"},
        {"Origin": "null"},
        {"Origin": "http://localhost:3000"},
        {"Origin": "http://["},
        {"Sec_Fetch_Site": "cross-site"},
        {"Sec_Fetch_Site": "same-site"},
    ],
)
def test_a_page_of_another_origin_is_refused_in_every_mode(mode, headers):
    with pytest.raises(OriginRefused):
        Policy(mode).check_sender(asking(Authorization=f"Bearer {KEY}", **headers))


def test_a_page_of_the_device_itself_is_good():
    Policy().check_sender(asking(Origin="http://localhost:48484", Sec_Fetch_Site="same-origin"))


@pytest.mark.parametrize(
    "policy", [Policy(asks_for_key=True), Policy(Mode.LOCAL_NETWORK), Policy(Mode.API_KEY)]
)
def test_the_key_is_needed_and_has_to_be_the_right_one(policy):
    for headers in (
        {},
        {"Authorization": "Bearer "},
        {"Authorization": "Basic eA=="},
        {"X_API_Key": KEY[:-1]},
    ):
        with pytest.raises(Unauthenticated):
            policy.check_key(asking(**headers), KEY)
    for headers in (
        {"Authorization": f"Bearer {KEY}"},
        {"Authorization": f"bearer  {KEY} "},
        {"X_API_Key": KEY},
    ):
        policy.check_key(asking(**headers), KEY)


def test_a_wrong_key_is_refused_also_where_none_is_needed():
    Policy().check_key(asking(), KEY)
    with pytest.raises(Unauthenticated):
        Policy().check_key(asking(Authorization="Bearer wrong"), KEY)


@given(st.text())
def test_no_text_is_the_same_as_no_key(text):
    assert not is_same(text, "")
    assert is_same(text, KEY) is (text == KEY)


@given(
    st.dictionaries(
        st.sampled_from(["Authorization", "X-API-Key", "Host", "Origin", "Sec-Fetch-Site"]), st.text()
    ),
    st.text(),
    st.sampled_from(Mode),
)
def test_no_headers_of_any_kind_let_a_stranger_in(headers, peer, mode):
    policy = Policy(mode, asks_for_key=True)
    given = Asking(plain_address(peer), headers)

    assert mode is Mode.OPEN or not is_let_in(policy, given) or key_in(headers) == KEY


def test_an_address_with_too_many_wrong_keys_waits():
    now = [0.0]
    wrong = WrongKeys(lambda: now[0], limit=3, window_s=60)
    for _ in range(3):
        wrong.check("10.0.0.1")
        wrong.wrong("10.0.0.1")
    with pytest.raises(RateLimited) as limited:
        wrong.check("10.0.0.1")
    wrong.check("10.0.0.2")
    now[0] = 61
    wrong.check("10.0.0.1")

    assert limited.value.retry_after_s == 60


def test_addresses_of_one_ipv6_network_count_together_and_are_forgotten_at_last():
    wrong = WrongKeys(lambda: 0.0, limit=3)
    for number in range(3):
        wrong.wrong(f"2001:db8:1:2::{number}")
    with pytest.raises(RateLimited):
        wrong.check("2001:db8:1:2:ffff::9")
    wrong.check("2001:db8:1:3::1")
    for number in range(2000):
        wrong.wrong(f"2001:db8:{number:x}::1")

    assert len(wrong._counts) == 1000
