"""Names of images, compared by what they mean."""

import pytest

from iotistic.planning.images import are_same, registry_of, repository_of, split

DIGEST = "sha256:" + "a" * 64
OTHER = "sha256:" + "b" * 64


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("nginx", "nginx:latest"),
        ("nginx", "docker.io/library/nginx"),
        ("nginx", "docker.io/nginx:latest"),
        ("nginx:1.25", "index.docker.io/library/nginx:1.25"),
        ("team/app", "docker.io/team/app:latest"),
        (f"nginx@{DIGEST}", f"docker.io/library/nginx@{DIGEST}"),
        (f"nginx:1.25@{DIGEST}", f"nginx:1.26@{DIGEST}"),
        ("localhost/app", "localhost/app:latest"),
        ("one.example:5000/team/app", "one.example:5000/team/app:latest"),
    ],
)
def test_two_spellings_of_one_image_are_the_same(one, other):
    assert are_same(one, other)
    assert are_same(other, one)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("nginx", "nginx:1.25"),
        ("nginx", "team/nginx"),
        ("nginx", "one.example/nginx"),
        ("nginx", "one.example/library/nginx"),
        ("one.example/app", "one.example:5000/app"),
        (f"nginx@{DIGEST}", f"nginx@{OTHER}"),
        (f"nginx@{DIGEST}", "nginx:latest"),
        (f"nginx@{DIGEST}", f"app@{DIGEST}"),
    ],
)
def test_two_images_are_not_the_same(one, other):
    assert not are_same(one, other)


@pytest.mark.parametrize(
    ("image", "registry", "repository", "version"),
    [
        ("nginx", "docker.io", "docker.io/library/nginx", "latest"),
        ("one.example:5000/a/b:1", "one.example:5000", "one.example:5000/a/b", "1"),
        (f"a/b:1@{DIGEST}", "docker.io", "docker.io/a/b", DIGEST),
        ("localhost/a", "localhost", "localhost/a", "latest"),
    ],
)
def test_a_name_falls_into_its_parts(image, registry, repository, version):
    assert (registry_of(image), repository_of(image), split(image)[1]) == (registry, repository, version)
