"""What a process is spared, looked at in processes of their own: modules stay loaded in this one."""

import subprocess
import sys


def said(code):
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True
    )
    return done.stdout.split()


def test_structlog_is_loaded_without_rich_and_rich_can_be_loaded_later():
    assert said(
        "import sys; from iotistic.entrypoints.lean import load_structlog_alone as load\n"
        "load(); print('structlog' in sys.modules, 'rich' in sys.modules)\n"
        "import rich.console; load(); print('rich' in sys.modules)"
    ) == ["True", "False", "True"]


def test_who_loaded_rich_before_keeps_it():
    assert said(
        "import sys, rich.console; from iotistic.entrypoints.lean import load_structlog_alone as load\n"
        "load(); print(sys.modules['rich'] is rich)"
    ) == ["True"]


def test_aiohttp_is_loaded_without_authorities_and_leaves_the_environment_as_it_was():
    assert said(
        "import os, ssl; from iotistic.entrypoints.lean import load_aiohttp_alone as load\n"
        "os.environ['SSL_CERT_FILE'] = ssl.get_default_verify_paths().openssl_cafile\n"
        "before = dict(os.environ); load(); import aiohttp.connector as connector\n"
        "print(connector._SSL_CONTEXT_VERIFIED.cert_store_stats()['x509'], before == dict(os.environ))"
    ) == ["0", "True"]


def test_the_agents_process_does_not_load_what_people_at_a_terminal_or_k3s_need():
    assert said(
        "import sys; from iotistic.entrypoints.lean import load_structlog_alone as load\n"
        "load(); import iotistic.entrypoints.agent.running\n"
        "unwanted = ('rich', 'cyclopts', 'prometheus_client', 'iotistic.agent.engines.k3s.engine')\n"
        "print([name for name in unwanted if name in sys.modules])"
    ) == ["[]"]


def test_the_command_that_becomes_the_agent_does_not_load_it():
    assert said(
        "import sys, iotistic.entrypoints.commands.agent\n"
        "print([name for name in ('aiohttp', 'cryptography', 'pydantic') if name in sys.modules])"
    ) == ["[]"]


def test_what_a_process_is_made_of_is_kept_from_the_collector_which_then_works():
    assert said(
        "import gc; from iotistic.entrypoints.lean import collecting_nothing\n"
        "with collecting_nothing(): import json; print(gc.isenabled())\n"
        "print(gc.isenabled(), gc.get_freeze_count() > 1000)"
    ) == ["False", "True", "True"]


def test_the_collector_works_again_when_something_could_not_be_made():
    assert said(
        "import gc; from iotistic.entrypoints.lean import collecting_nothing\n"
        "try:\n"
        " with collecting_nothing(): import nowhere\n"
        "except ImportError: print(gc.isenabled())"
    ) == ["True"]


def test_maintenance_does_without_numpy():
    assert said("import sys, iotistic.entrypoints.maintenance; print('numpy' in sys.modules)") == ["False"]


def test_a_traceback_is_still_written_to_the_log():
    assert "ZeroDivisionError:" in said(
        "from iotistic.entrypoints.lean import load_structlog_alone as load\n"
        "load(); import sys, structlog\n"
        "from iotistic.kernel.logging import LogSettings, configure_logging\n"
        "configure_logging(LogSettings(log_format='console'), process='test', stream=sys.stdout)\n"
        "try: 1 / 0\n"
        "except ZeroDivisionError: structlog.get_logger().exception('it.failed')"
    )
