"""The pages of the device API and of iotctl name everything that there is, and nothing else."""

import re
from pathlib import Path

from cyclopts import App
from device_rig import DeviceRig

from iotistic.agent.local_api.app import make_app
from iotistic.agent.local_config.options import OPTIONS
from iotistic.entrypoints.iotctl.verbs import build_app

DOCS = Path(__file__).parents[3] / "docs/agent"


def verbs(app, *before):
    for name in app:
        if name.startswith("-"):
            continue
        inner = app[name]
        if isinstance(inner, App) and [one for one in inner if not one.startswith("-")]:
            yield from verbs(inner, *before, name)
        else:
            yield " ".join((*before, name))


async def test_the_page_of_the_device_api_has_every_route(tmp_path):
    page = (DOCS / "device-api.md").read_text()
    written = {(method, path) for method, path in re.findall(r"`(GET|POST|PATCH|DELETE) (/[^` ?]*)", page)}
    async with DeviceRig(tmp_path).running() as rig:
        router = make_app(rig._parts(), rig.key, rig.policy).router
        found = {
            (route.method, route.resource.canonical) for route in router.routes() if route.method != "HEAD"
        }

    assert {one for one in written if not one[1].endswith("{verb}-service")} == found


def test_the_page_of_iotctl_has_every_verb_and_every_setting():
    page = (DOCS / "iotctl.md").read_text()
    written = set(re.findall(r"`iotctl ([a-z][a-z -]*[a-z])", page))
    written |= {"provision"}

    assert set(verbs(build_app())) | {"help", "provision"} == written
    assert {name for name in OPTIONS if f"`{name}`" not in page} == set()
