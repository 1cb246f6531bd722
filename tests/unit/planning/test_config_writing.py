from hypothesis import given
from hypothesis import strategies as st

from iotistic.planning.model import (
    Mount,
    Port,
    Probe,
    ProbeKind,
    Probes,
    Resources,
    Restart,
    ServiceConfig,
    Strategy,
)
from iotistic.planning.writing import read_written, write_config

names = st.from_regex(r"[a-z][a-z0-9_-]{0,8}", fullmatch=True)
values = st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), max_size=12)
pairs = st.dictionaries(names, values, max_size=3).map(lambda found: frozenset(found.items()))
ports = st.builds(
    Port,
    st.integers(1, 65_535),
    st.integers(1, 65_535),
    st.sampled_from(["tcp", "udp"]),
    st.sampled_from(["127.0.0.1", "::1"]),
)
mounts = st.builds(Mount, names | names.map("/srv/{}".format), names.map("/{}".format), st.booleans())
amounts = st.none() | st.integers(1, 1 << 40)
probes = st.builds(
    Probe,
    st.just(ProbeKind.HTTP),
    path=names.map("/{}".format),
    port=st.integers(1, 65_535),
    headers=pairs,
    expected_status=st.frozensets(st.integers(100, 599), max_size=2),
    period_s=st.floats(0, 60),
    failure_threshold=st.integers(1, 1000),
) | st.builds(Probe, st.just(ProbeKind.EXEC), command=st.lists(names, min_size=1, max_size=2).map(tuple))
configs = st.builds(
    ServiceConfig,
    names,
    environment=pairs,
    ports=st.lists(ports, max_size=3, unique_by=lambda port: port.host).map(frozenset),
    mounts=st.lists(mounts, max_size=3, unique_by=lambda mount: mount.target).map(frozenset),
    networks=st.frozensets(names, max_size=2),
    labels=pairs,
    command=st.lists(values, max_size=3).map(tuple),
    restart=st.sampled_from(Restart),
    resources=st.builds(Resources, amounts, amounts, amounts, amounts),
    probes=st.builds(Probes, st.none() | probes, st.none() | probes, st.none() | probes),
    stop_timeout_s=st.integers(0, 3600),
    strategy=st.sampled_from(Strategy),
    handover_s=st.integers(0, 3600),
)


@given(configs)
def test_what_is_written_is_read_as_the_same(config: ServiceConfig) -> None:
    assert read_written(write_config(config)) == config


def test_defaults_are_left_out() -> None:
    assert write_config(ServiceConfig("web:1")) == {"image": "web:1"}


def test_what_somebody_else_wrote_is_not_believed() -> None:
    assert read_written({"image": "web:1", "ports": 9}) is None
    assert read_written(None) is None
