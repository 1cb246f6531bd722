"""The pure parts behind targets: templates, images and apps, with whatever comes."""

import contextlib
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import SecretStr

from iotistic.control.apps.model import (
    Action,
    ServicesInvalid,
    ServiceUnknown,
    acted,
    changed_app,
    new_app,
    regular,
    services_of,
)
from iotistic.control.images.model import HostInvalid, ImageNameInvalid, images_of, pinned, reference_of
from iotistic.control.states.model import TargetInvalid, checked
from iotistic.control.templates.model import Template, Values, check_template, filled
from iotistic.kernel.sealing import Seal, SealBroken, SealMissing
from iotistic.planning.images import are_same, repository_of

NOW = datetime(2026, 1, 1, tzinfo=UTC)
DIGEST = "sha256:" + "a" * 64
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20) | st.just("{{tag.a|b}}"),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=10,
)
KEYS = ("serviceName", "serviceId", "image", "imageName", "config", "ports", "environment", "state")
SERVICE = st.dictionaries(st.sampled_from(KEYS), JSON)


def template_of(content):
    return Template(
        name="t",
        description="",
        version=1,
        newest=1,
        is_default=False,
        content=content,
        parameters={},
        created_at=NOW,
        created_by="test",
    )


@given(st.dictionaries(st.sampled_from(("apps", "config", "options")), JSON))
def test_a_template_becomes_a_target_or_is_refused_with_its_faults(content):
    template = template_of({"apps": {}, "config": {}, **content})
    with contextlib.suppress(TargetInvalid):
        check_template(template.content, {})
        found = filled(template, Values(device={"name": "press"}))

        assert checked(found) == found


@given(st.text(max_size=40))
def test_what_is_filled_in_is_never_a_variable_again(text):
    content = {"apps": {}, "config": {"a": "<{{tag.x}}>"}}
    found = filled(template_of(content), Values(device={}, tags={"x": text or "-"}))

    assert found["config"]["a"] == f"<{text or '-'}>"


@given(st.text(max_size=60) | st.from_regex(r"[a-z0-9./:@_-]{1,40}", fullmatch=True))
def test_a_name_of_an_image_is_read_or_refused(image):
    with contextlib.suppress(ImageNameInvalid, HostInvalid):
        found = reference_of(image)

        assert not set(f"{found.path}{found.tag}") & set("?#%@\\ \n")
        assert ".." not in found.path.split("/")


@pytest.mark.parametrize(
    ("image", "host", "path", "tag"),
    [
        ("nginx", "docker.io", "library/nginx", "latest"),
        ("nginx:1.25", "docker.io", "library/nginx", "1.25"),
        ("team/app:1", "docker.io", "team/app", "1"),
        ("registry.example:5000/a/b/c", "registry.example:5000", "a/b/c", "latest"),
        ("localhost/a:1", "localhost", "a", "1"),
    ],
)
def test_names_of_images_mean_what_docker_means(image, host, path, tag):
    assert reference_of(image) == (host, path, tag)


def test_pins_take_the_place_of_tags_wherever_an_image_stands():
    services = [
        {"serviceId": 1, "serviceName": "a", "imageName": "web:1", "config": {"image": "web:1"}},
        {"serviceId": 2, "serviceName": "b", "image": "web:1"},
        {"serviceId": 3, "serviceName": "c", "imageName": f"web:1@{DIGEST}"},
        {"serviceId": 4, "serviceName": "d", "imageName": "db:1"},
    ]
    content = checked({"apps": {"7": {"appId": 7, "services": services}}})
    found = pinned(content, {"web:1": f"web:1@{DIGEST}"})["apps"]["7"]["services"]

    assert images_of(content) == ["web:1", "db:1"]
    assert [one.get("imageName") for one in found] == [
        f"web:1@{DIGEST}",
        None,
        f"web:1@{DIGEST}",
        "db:1",
    ]
    assert found[0]["config"]["image"] == found[1]["image"] == f"web:1@{DIGEST}"
    assert are_same(f"web:1@{DIGEST}", f"docker.io/library/web@{DIGEST}")
    assert repository_of(f"web:1@{DIGEST}") == "docker.io/library/web"


@given(st.lists(SERVICE, max_size=3), st.lists(SERVICE, max_size=3))
def test_services_of_any_kind_make_an_app_or_are_refused(services, changes):
    ids = iter(range(1000, 2000))
    with contextlib.suppress(TargetInvalid, ServicesInvalid, ServiceUnknown):
        app = new_app("7", "shop", {}, services, ids)
        normal = checked({"apps": {"7": app}})["apps"]["7"]
        changed = checked({"apps": {"7": changed_app(normal, {}, changes, ids)}})["apps"]["7"]
        restarted = acted(changed, Action.RESTART, None, NOW)

        assert checked({"apps": {"7": restarted}})["apps"]["7"] == restarted


def test_a_change_with_an_image_counts_wherever_the_image_stood_before():
    before = {"appId": 7, "services": [{"serviceId": 1, "serviceName": "a", "imageName": "web:1"}]}
    for change in ({"imageName": "web:2"}, {"image": "web:2"}, {"config": {"image": "web:2"}}):
        (found,) = services_of(changed_app(before, {}, [{"serviceName": "a", **change}], iter(())))

        assert regular(found) == found
        assert (found["imageName"], found["config"], found["serviceId"]) == ("web:2", {"image": "web:2"}, 1)


def test_what_is_sealed_opens_under_its_name_and_secret_only():
    seal = Seal(SecretStr("a" * 32), purpose="registries", setting="REGISTRY_SECRET")
    closed = seal.close("x.example", SecretStr("hidden"))
    others = [
        Seal(SecretStr("b" * 32), purpose="registries", setting="REGISTRY_SECRET"),
        Seal(SecretStr("a" * 32), purpose="others", setting="REGISTRY_SECRET"),
    ]

    assert seal.open("x.example", closed).get_secret_value() == "hidden"
    assert b"hidden" not in closed
    with pytest.raises(SealBroken):
        seal.open("y.example", closed)
    for other in others:
        with pytest.raises(SealBroken):
            other.open("x.example", closed)
    with pytest.raises(SealMissing):
        Seal(None, purpose="registries", setting="REGISTRY_SECRET").close("x", SecretStr("y"))
