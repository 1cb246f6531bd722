"""`iotistic doctor`."""

from cyclopts import App
from rich.console import Console
from rich.markup import escape

from iotistic.entrypoints.commands.options import AsJson
from iotistic.entrypoints.doctor.check import Finding, State
from iotistic.entrypoints.doctor.machine import machine_findings
from iotistic.entrypoints.doctor.running import running_findings
from iotistic.entrypoints.output import emit
from iotistic.entrypoints.up.settings import UpSettings
from iotistic.kernel.settings import load_settings

app = App(name="doctor", help_format="plaintext")

_MARKS = {
    State.OK: "[green]ok     [/]",
    State.WARNING: "[yellow]warning[/]",
    State.FAILED: "[bold red]failed [/]",
    State.SKIPPED: "[dim]skipped[/]",
}


@app.default
def doctor(*, json: AsJson = False) -> int:
    """Check ports, disk, clock, versions, broker, database and certificates; exit code 1 on a failure."""
    settings = load_settings(UpSettings)
    findings = [*machine_findings(settings.home), *running_findings(settings)]
    healthy = all(finding.state is not State.FAILED for finding in findings)
    if json:
        emit({"healthy": healthy, "findings": findings}, json=True)
    else:
        _print(findings)
    return 0 if healthy else 1


def _print(findings: list[Finding]) -> None:
    console = Console(highlight=False, soft_wrap=True)
    width = max(len(finding.check) for finding in findings)
    for finding in findings:
        console.print(f"{_MARKS[finding.state]}  {finding.check:<{width}}  {escape(finding.found)}")
        if finding.fix:
            console.print(f"         {'':<{width}}  fix: {escape(finding.fix)}")
