"""Where Kubernetes is and who we are there."""

import base64
import contextlib
import json
import stat

import pytest
from hypothesis import given
from hypothesis import strategies as st

from iotistic.agent.engines.errors import EngineUnavailable
from iotistic.agent.engines.k3s.access import KubeconfigInvalid, by_kubeconfig, in_cluster, is_in_cluster
from iotistic.agent.engines.k3s.plain_yaml import read_yaml


def coded(text):
    return base64.b64encode(text.encode()).decode()


K3S = f"""\
apiVersion: v1
clusters:
- cluster:
    certificate-authority-data: {coded("authority")}
    server: https://127.0.0.1:6443
  name: default
contexts:
- context:
    cluster: default
    user: default
  name: default
current-context: default
kind: Config
preferences: {{}}
users:
- name: default
  user:
    client-certificate-data: {coded("certificate")}
    client-key-data: {coded("key")}
"""


def kubeconfig(folder, text):
    path = folder / "k3s.yaml"
    path.write_text(text, encoding="utf-8")
    return path


def test_the_file_that_k3s_writes_is_read(tmp_path):
    access = by_kubeconfig(kubeconfig(tmp_path, K3S))

    assert access.server == "https://127.0.0.1:6443"
    assert (access.authority, access.certificate, access.key) == ("authority", "certificate", "key")
    assert access.headers() == {}
    assert "key" not in repr(access).replace("key_", "")


def test_certificates_may_stand_beside_the_file(tmp_path):
    (tmp_path / "ca.crt").write_text("authority", encoding="utf-8")
    text = K3S.replace(f"certificate-authority-data: {coded('authority')}", "certificate-authority: ca.crt")

    assert by_kubeconfig(kubeconfig(tmp_path, text)).authority == "authority"


def test_a_token_is_shown(tmp_path):
    text = K3S.replace(f"client-certificate-data: {coded('certificate')}", "token: abc  # of ours")
    access = by_kubeconfig(kubeconfig(tmp_path, text))

    assert access.headers() == {"Authorization": "Bearer abc"}
    assert "abc" not in repr(access)


@pytest.mark.parametrize(
    ("before", "after", "said"),
    [
        ("client-key-data", "auth-provider", "not supported: auth-provider"),
        ("current-context: default", "current-context: other", "no context named 'other'"),
        (
            "    server: https",
            "    insecure-skip-tls-verify: true\n    server: https",
            "insecure-skip-tls-verify",
        ),
        (coded("key"), "&", "line 19 is not understood"),
        (coded("key"), "%%", "line 19 is not understood"),
        (coded("key"), "a-b", "client-key-data is not base64"),
        ("kind: Config", "kind: |\n  Config", "line 13 is not understood"),
        ("kind: Config", "kind: Config\nkind: Config", "kind stands there twice"),
        ("kind: Config", "kind Config", "line 13 is not understood"),
        ("users:", "\tusers:", "tabs"),
    ],
)
def test_what_cannot_be_used_is_refused_by_its_name(tmp_path, before, after, said):
    path = kubeconfig(tmp_path, K3S.replace(before, after))
    with pytest.raises(KubeconfigInvalid, match=said):
        by_kubeconfig(path)


@pytest.mark.parametrize("text", ["", "- a", "a", "null", "{", "[1"])
def test_what_is_no_kubeconfig_is_refused(tmp_path, text):
    with pytest.raises(KubeconfigInvalid):
        by_kubeconfig(kubeconfig(tmp_path, text))


def test_a_file_that_is_not_there_is_said_to_be(tmp_path):
    with pytest.raises(KubeconfigInvalid, match="cannot be read"):
        by_kubeconfig(tmp_path / "none")


def test_a_pod_finds_its_own_cluster_and_reads_its_token_each_time(tmp_path):
    (tmp_path / "ca.crt").write_text("authority", encoding="utf-8")
    environ = {"KUBERNETES_SERVICE_HOST": "10.43.0.1", "KUBERNETES_SERVICE_PORT": "443"}
    assert not is_in_cluster(environ, tmp_path)
    (tmp_path / "token").write_text("first\n", encoding="utf-8")
    assert is_in_cluster(environ, tmp_path)
    access = in_cluster(environ, tmp_path)
    before = access.headers()
    (tmp_path / "token").write_text("second", encoding="utf-8")

    assert access.server == "https://10.43.0.1:443"
    assert (before, access.headers()) == (
        {"Authorization": "Bearer first"},
        {"Authorization": "Bearer second"},
    )
    (tmp_path / "token").unlink()
    with pytest.raises(EngineUnavailable):
        access.headers()


def test_outside_of_a_cluster_there_is_none(tmp_path):
    assert not is_in_cluster({}, tmp_path)
    with pytest.raises(KubeconfigInvalid):
        in_cluster({}, tmp_path)


def test_a_certificate_that_is_none_is_refused_and_leaves_no_file(tmp_path, monkeypatch):
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    access = by_kubeconfig(kubeconfig(tmp_path, K3S.replace("certificate-authority-data", "tls-server-name")))
    with pytest.raises(KubeconfigInvalid, match="certificate or key"):
        access.tls()
    assert [path.name for path in tmp_path.iterdir()] == ["k3s.yaml"]
    assert stat.S_ISREG((tmp_path / "k3s.yaml").stat().st_mode)


texts = st.from_regex(r"[A-Za-z0-9+/=][A-Za-z0-9+/=.:-]{0,20}[A-Za-z0-9+/=]", fullmatch=True).filter(
    lambda text: text not in ("true", "false", "null")
)
keys = st.from_regex(r"[a-z][a-z-]{0,10}", fullmatch=True).filter(lambda text: text != "null")
trees = st.recursive(
    texts,
    lambda inner: (
        st.lists(inner, min_size=1, max_size=3) | st.dictionaries(keys, inner, min_size=1, max_size=3)
    ),
    max_leaves=8,
)


@given(st.dictionaries(keys, trees, min_size=1, max_size=3))
def test_yaml_is_read_as_yaml_is(document):
    yaml = pytest.importorskip("yaml")

    assert read_yaml(yaml.safe_dump(document, default_flow_style=False)) == document
    assert read_yaml(json.dumps(document)) == document


@given(st.text(max_size=60))
def test_whatever_stands_in_a_file_it_is_read_or_refused(text):
    with contextlib.suppress(ValueError):
        read_yaml(text)


def test_an_address_of_ipv6_stands_in_brackets(tmp_path):
    (tmp_path / "ca.crt").write_text("authority", encoding="utf-8")
    environ = {"KUBERNETES_SERVICE_HOST": "fd00::1", "KUBERNETES_SERVICE_PORT": "6443"}

    assert in_cluster(environ, tmp_path).server == "https://[fd00::1]:6443"
