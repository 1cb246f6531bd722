"""An agent that is killed in the middle of what a person asked for."""

import json
import random
import time
import urllib.request

import pytest
from device_processes import agent_process, until

CALL_S = 0.03


def ask(agent, path, body=None):
    request = urllib.request.Request(
        agent.url + path,
        data=None if body is None else json.dumps(body).encode(),
        method="POST" if body else "GET",
    )
    with urllib.request.urlopen(request, timeout=20) as answer:
        return json.loads(answer.read())


def services(agent):
    return {one["serviceName"]: one for one in ask(agent, "/v1/services")["services"]}


def is_whole(agent):
    plan, found = ask(agent, "/v2/plan"), services(agent)
    running = all(one["status"] == "running" for one in found.values())
    return found if running and len(found) == 3 and not plan["wishes"] and plan["settled"] else None


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(3))
def test_a_restart_that_was_cut_short_by_a_kill_ends_running_in_the_same_containers(tmp_path, seed):
    chance = random.Random(seed)
    folder = tmp_path / "agent"
    with agent_process(folder, CALL_S) as agent:
        before = {name: one["containerId"] for name, one in until(lambda: is_whole(agent)).items()}
    for _ in range(4):
        with agent_process(folder, CALL_S) as agent:
            until(lambda agent=agent: is_whole(agent))
            ask(agent, "/v1/apps/shop/restart", {"wait": 0})
            time.sleep(chance.uniform(0, 8 * CALL_S))
            agent.kill()
    with agent_process(folder) as agent:
        after = {name: one["containerId"] for name, one in until(lambda: is_whole(agent)).items()}

    assert after == before


def test_a_service_that_was_stopped_stays_stopped_through_a_kill_at_once_after_the_answer(tmp_path):
    folder = tmp_path / "agent"
    with agent_process(folder, CALL_S) as agent:
        until(lambda: is_whole(agent))
        ask(agent, "/v1/services/web/stop", {"wait": 0})
        agent.kill()
    with agent_process(folder, CALL_S) as agent:
        until(lambda: services(agent)["web"]["status"] == "exited")
        until(lambda: ask(agent, "/v2/plan")["settled"])
        web = services(agent)["web"]

    assert (web["state"], web["cloudState"], web["status"]) == ("stopped", "running", "exited")
