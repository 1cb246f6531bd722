"""Build a Kubernetes for tests, and print its folder: build_kubernetes.py [FOLDER].

No Debian package has an API server, so it is built from the modules of k8s.io/kubernetes with Go 1.24 or newer: API
server, controllers and scheduler in one program, about seven minutes of one core and 700 MB of modules the first time.
etcd is Debian's (package etcd-server). What is built stays in .tools between runs.
"""

# ruff: noqa: INP001  a script is no package

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

VERSION = "34.4"
"""Kubernetes 1.34.4; its staging modules are 0.34.4."""
FOLDER = Path(__file__).parent.parent / ".tools" / "kubernetes"
_STAGING = re.compile(r"^\s+(k8s\.io/[a-z-]+) v0\.0\.0$", re.MULTILINE)
_MAIN = """// A Kubernetes API server, its controllers and its scheduler in one program, for tests.
package main

import (
	"fmt"
	"os"

	"github.com/spf13/cobra"
	"k8s.io/component-base/cli"
	_ "k8s.io/component-base/metrics/prometheus/clientgo"
	apiserver "k8s.io/kubernetes/cmd/kube-apiserver/app"
	controllers "k8s.io/kubernetes/cmd/kube-controller-manager/app"
	scheduler "k8s.io/kubernetes/cmd/kube-scheduler/app"
)

func main() {
	commands := map[string]func() *cobra.Command{
		"apiserver":   apiserver.NewAPIServerCommand,
		"controllers": controllers.NewControllerManagerCommand,
		"scheduler":   func() *cobra.Command { return scheduler.NewSchedulerCommand() },
	}
	if len(os.Args) < 2 || commands[os.Args[1]] == nil {
		fmt.Fprintln(os.Stderr, "usage: kubernetes apiserver|controllers|scheduler [flags]")
		os.Exit(2)
	}
	command := commands[os.Args[1]]()
	os.Args = append(os.Args[:1], os.Args[2:]...)
	os.Exit(cli.Run(command))
}
"""


def go(*words: str, source: Path) -> str:
    """Run Go and return what it prints; what goes wrong ends the script."""
    environment = os.environ | {"CGO_ENABLED": "0", "GOFLAGS": "-mod=mod"}
    try:
        done = subprocess.run(
            ["go", *words], cwd=source, env=environment, check=True, stdout=subprocess.PIPE, text=True
        )
    except (OSError, subprocess.CalledProcessError) as exc:
        sys.exit(f"go {words[0]}: {exc}")
    return done.stdout


def write_module(source: Path) -> None:
    """Write a module that wants Kubernetes, and its staging modules in the same version."""
    source.mkdir(parents=True, exist_ok=True)
    module = source / "go.mod"
    module.write_text("module iotistic.test/kubernetes\n\ngo 1.24.0\n", encoding="utf-8")
    answer = go("mod", "download", "-json", f"k8s.io/kubernetes@v1.{VERSION}", source=source)
    described = re.search(r'"GoMod": "(.*)"', answer)
    if described is None:
        sys.exit("go mod download does not say where the module is")
    staging = sorted(set(_STAGING.findall(Path(described[1]).read_text(encoding="utf-8"))))
    wanted = [f"require k8s.io/kubernetes v1.{VERSION}"]
    wanted += [f"replace {name} => {name} v0.{VERSION}" for name in staging]
    module.write_text("\n\n".join([module.read_text(encoding="utf-8"), *wanted]), encoding="utf-8")
    (source / "main.go").write_text(_MAIN, encoding="utf-8")


def main() -> None:
    """Build what is missing."""
    folder = Path(sys.argv[1]) if sys.argv[1:] else FOLDER
    etcd = shutil.which("etcd")
    if etcd is None:
        sys.exit("there is no etcd: apt-get install etcd-server")
    program, source = folder / "kubernetes", folder / "source"
    if not program.exists():
        write_module(source)
        go("mod", "tidy", source=source)
        # Without optimisations it is built in two thirds of the time, and is fast enough for tests.
        go(
            "build",
            "-trimpath",
            "-gcflags=all=-N -l",
            "-ldflags=-s -w",
            "-o",
            str(program.absolute()),
            ".",
            source=source,
        )
    shutil.copy2(etcd, folder / "etcd")
    sys.stdout.write(f"{folder}\n")


if __name__ == "__main__":
    main()
