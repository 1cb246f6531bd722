"""What a broker that is killed still knows: the workers' subscriptions, from the first moment on."""

import os
import signal

from fault_tools import Recorder, service_connection, site, stored, until


def answers(running):
    try:
        with service_connection(running, "probe"):
            return True
    except OSError:
        return False


def kill_the_broker(running):
    killed = running.kill("broker")
    until(lambda: running.children()["broker"] not in ([], [killed]), 30)
    until(lambda: answers(running), 30)


def publish_to_nobody(running, name):
    """Publish while the worker cannot come back; return the recorder, acknowledged by the broker."""
    recorder = Recorder(running, name=name, rate=2000)
    recorder.start()
    until(lambda: len(recorder.acknowledged) > 100, 30)
    recorder.finish()
    return recorder


def kept_while_the_worker_stands_still(running, name):
    """Kill the broker while the worker stands still; return what was acknowledged then, once it is stored."""
    worker = running.children()["ingest"][0]
    os.kill(worker, signal.SIGSTOP)
    try:
        kill_the_broker(running)
        recorder = publish_to_nobody(running, name)
    finally:
        os.kill(worker, signal.SIGCONT)
    until(lambda: recorder.acknowledged <= set(stored(running, name)), 30)
    return sorted(recorder.acknowledged)


def test_a_killed_broker_keeps_what_is_published_before_the_workers_are_back_right_after_the_start_and_later():
    with site() as running:
        first = kept_while_the_worker_stands_still(running, "first")
        assert sorted(stored(running, "first")) == first

        worker = running.kill("ingest")  # another subscribes anew
        running.until_whole("ingest", worker)
        second = kept_while_the_worker_stands_still(running, "second")
        assert sorted(stored(running, "second")) == second
