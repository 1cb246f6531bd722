"""Filters as MQTT matches them; the last of these failed in the earlier system (lesson 34)."""

import pytest

from iotistic.control.broker.model import Access, Rule
from iotistic.control.broker.topics import FilterInvalid, check_filter, covers, matches, substitute

MATCHING = [
    ("a/b", "a/b"),
    ("#", "a/b"),
    ("#", "/"),
    ("a/#", "a"),
    ("a/#", "a/"),
    ("a/#", "a/b/c"),
    ("+", "a"),
    ("a/+", "a/"),
    ("+/+", "/"),
    ("/+", "/a"),
    ("a/+/c", "a//c"),
    ("$SYS/#", "$SYS/broker/uptime"),
    ("$SYS/+/uptime", "$SYS/broker/uptime"),
    ("a/$x", "a/$x"),
    ("a/#", "a/$x"),
]
DIFFERENT = [
    ("a/b", "a/B"),
    ("a/b", "a/b/"),
    ("a/b", "/a/b"),
    ("+", "a/b"),
    ("+", "/a"),
    ("a/+", "a"),
    ("a/+", "a/b/c"),
    ("a/+/#", "a"),
    ("#", "$SYS/broker/uptime"),
    ("+/broker/uptime", "$SYS/broker/uptime"),
    ("a.c", "abc"),
    ("a/b", "a/+"),
    ("#", "a/#"),
    ("#", ""),
]


@pytest.mark.parametrize(("topic_filter", "topic"), MATCHING)
def test_a_filter_means_a_topic(topic_filter, topic):
    assert matches(topic_filter, topic)


@pytest.mark.parametrize(("topic_filter", "topic"), DIFFERENT)
def test_a_filter_does_not_mean_a_topic(topic_filter, topic):
    assert not matches(topic_filter, topic)


@pytest.mark.parametrize(
    ("topic_filter", "asked"),
    [
        *MATCHING,
        ("a/#", "a/#"),
        ("a/#", "a/+/c"),
        ("a/+", "a/+"),
        ("#", "#"),
        ("#", "+/b"),
        ("a/#", "$share/readers/a/b"),
    ],
)
def test_a_subscription_within_a_filter_is_covered(topic_filter, asked):
    assert covers(topic_filter, asked)


@pytest.mark.parametrize(
    ("topic_filter", "asked"),
    [
        ("a/b", "a/+"),
        ("a/b", "a/#"),
        ("a/+", "a/#"),
        ("a/+/#", "a/#"),
        ("+", "#"),
        ("+/b", "#"),
        ("#", "$SYS/#"),
        ("+/#", "$SYS/#"),
        ("a/#", "$share/readers/b"),
        ("a/#", "$share/readers"),
        ("a/#", "$share//a/b"),
        ("#", "$share/readers/$SYS/#"),
    ],
)
def test_a_subscription_beyond_a_filter_is_not_covered(topic_filter, asked):
    assert not covers(topic_filter, asked)


@pytest.mark.parametrize("text", ["", "a#", "a/#/b", "#/a", "a+", "a/b+/c", "a\0b", "a\nb"])
def test_what_is_no_filter_is_refused(text):
    with pytest.raises(FilterInvalid):
        check_filter(text)


def test_names_are_filled_into_a_pattern():
    assert substitute("u/%u/%c/#", username="ada", client_id="one") == "u/ada/one/#"


@pytest.mark.parametrize("name", ["#", "+", "a/b", "a/#", ""])
def test_a_name_brings_no_wildcards_and_no_levels_into_a_pattern(name):
    assert substitute("u/%c", username="ada", client_id=name) is None


@pytest.mark.parametrize("asked", [Access.WRITE, Access.READ | Access.WRITE, Access.SUBSCRIBE])
def test_who_may_read_may_do_nothing_else(asked):
    assert not Rule("a/#", Access.READ).allows(asked, "a/b", username="x", client_id="y")


def test_who_may_write_may_not_read():
    assert not Rule("a/#", Access.WRITE).allows(Access.READ, "a/b", username="x", client_id="y")
