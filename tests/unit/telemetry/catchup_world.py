"""A world for the granter: devices that hold messages, and a lane that stores what enters after a while."""

import math
from collections import deque

from iotistic.telemetry.catchup.granter import Granter
from iotistic.telemetry.catchup.loads import Situation
from iotistic.telemetry.catchup.settings import CatchupSettings

LOOK_S = 0.5
STEP_S = 0.1


def settings(**given):
    return CatchupSettings(**{"catchup_chunk": 10, "catchup_window": 1000, "catchup_lease_s": 3} | given)


class Device:
    """Sends `a_step` messages in each step of what it is granted, asks when that is done, and when told to."""

    def __init__(self, held, a_step):
        self.held, self.a_step = held, a_step
        self.granted = self.turns = self.total = 0
        self.ends_at = self.ask_at = 0.0
        self.there = True

    @property
    def unsent(self):
        """What it may still send."""
        return min(self.granted, self.held)

    def hear(self, grant, now):
        if grant.grant:
            self.granted, self.ends_at = grant.grant, now + grant.within_s
            self.turns, self.total = self.turns + 1, self.total + grant.grant
        else:
            assert grant.reason
            assert grant.retry_after_s > 0
            self.ask_at = now + grant.retry_after_s

    def send(self, now):
        if now >= self.ends_at:
            self.granted = 0
        sent = min(self.a_step, self.unsent) if self.there else 0
        self.held, self.granted = self.held - sent, self.granted - sent
        if sent and not self.unsent:
            self.ask_at = now
        return sent


class World:
    """Time goes by in steps. What enters is stored `latency_s` later."""

    def __init__(self, devices, *, latency_s=0.5, **given):
        self.devices = dict(enumerate(devices))
        self.settings = settings(**given)
        self.now = 1000.0
        self.latency_s = latency_s
        self.live_delay_s = 0.02
        self.trouble = None
        self.lane = deque()
        self.stored = self.unseen = 0
        self.most_under_way = 0
        self.asked_at = {}
        self.jumped = []
        self._next_look = self.now
        self.restart()

    def restart(self):
        """The process that grants dies, and another takes its place."""
        self.granter = Granter(self.settings, lambda: 0.5)

    @property
    def waiting(self):
        return sum(amount for _, amount in self.lane)

    @property
    def under_way(self):
        """What devices may send at the moment and what is in the lane, as nobody but this world knows it."""
        return self.waiting + sum(device.unsent for device in self.devices.values() if device.there)

    @property
    def held(self):
        return sum(device.held for device in self.devices.values())

    def run(self, seconds):
        end = self.now + seconds
        while self.now < end:
            self.step()

    def settle(self, within_s=600):
        """Run until nothing is left to do."""
        end = self.now + within_s
        while self.now < end and not self.settled:
            self.step()

    @property
    def settled(self):
        granter, there = self.granter, [device for device in self.devices.values() if device.there]
        busy = granter.outstanding or granter.leases or granter.waiting or self.waiting or self.unseen
        return not busy and not any(device.held for device in there)

    def step(self):
        self.now += STEP_S
        for name, device in self.devices.items():
            if sent := device.send(self.now):
                self.lane.append((self.now + self.latency_s, sent))
            if device.there and device.ask_at <= self.now and not device.unsent:
                self.ask(name)
        while self.lane and self.lane[0][0] <= self.now:
            self.unseen += self.lane.popleft()[1]
        if self.now >= self._next_look:
            self._look()

    def ask(self, name):
        device = self.devices[name]
        device.ask_at = self.now + 5 if device.held else math.inf
        device.granted = 0
        if device.held:
            self.asked_at.setdefault(name, self.now)
        self._tell(self.granter.hear(name, device.held, self.now))

    def _look(self):
        self._next_look += LOOK_S
        situation = Situation(self.trouble, self.unseen, 0, self.live_delay_s, self.latency_s)
        self.stored, self.unseen = self.stored + self.unseen, 0
        self.granter.observe(situation, self.now)
        self._tell(self.granter.due(self.now))

    def _tell(self, answers):
        for answer in answers:
            if self.devices[answer.mac].there:
                self.devices[answer.mac].hear(answer.grant, self.now)
            if answer.grant.grant:
                if self.asked_at.pop(answer.mac) > min(self.asked_at.values(), default=math.inf):
                    self.jumped.append(answer)
                self.most_under_way = max(self.most_under_way, self.under_way / self.granter.window)
