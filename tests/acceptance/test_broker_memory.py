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


def test_a_broker_killed_right_after_the_start_keeps_what_is_published_before_the_workers_are_back():
    with site(API_PORT="0", PKI_PORT="0", MQTT_PORT="0") as running:
        worker = running.children()["ingest"][0]
        os.kill(worker, signal.SIGSTOP)
        try:
            kill_the_broker(running)
            first = publish_to_nobody(running, "first")
        finally:
            os.kill(worker, signal.SIGCONT)
        until(lambda: first.acknowledged <= set(stored(running, "first")), 30)

        assert sorted(stored(running, "first")) == sorted(first.acknowledged)


def test_a_worker_that_subscribes_anew_after_a_restart_is_kept_too():
    with site(API_PORT="0", PKI_PORT="0", MQTT_PORT="0") as running:
        worker = running.kill("ingest")
        running.until_whole("ingest", worker)
        os.kill(running.children()["ingest"][0], signal.SIGSTOP)
        try:
            kill_the_broker(running)
            second = publish_to_nobody(running, "second")
        finally:
            os.kill(running.children()["ingest"][0], signal.SIGCONT)
        until(lambda: second.acknowledged <= set(stored(running, "second")), 30)

        assert sorted(stored(running, "second")) == sorted(second.acknowledged)
