"""What services tell when an update does not come through: images, starts, crashes; the nearest first. Pure."""

from iotistic.control.why.model import Cause
from iotistic.control.why.update_findings import cause, failing

_PULL = frozenset({"ErrImagePull", "ImagePullBackOff"})

SERVICE_CAUSES: tuple[Cause, ...] = (
    cause(
        "image.disk_full",
        "The image {image} of {service} does not fit on the device's disk: {message}",
        "Free space on the device, or use a smaller image.",
        failing(_PULL | {"StartFailure"}, r"no space left|disk (is )?full|disk quota"),
    ),
    cause(
        "image.denied",
        "The registry does not let the device have the image {image} of {service}: {message}",
        "Log the device's engine in at the registry, or make the image public.",
        failing(_PULL, r"denied|unauthori[sz]ed|authentication required|forbidden|\b401\b|\b403\b"),
    ),
    cause(
        "image.not_found",
        "There is no image {image}, which {service} is to run: {message}",
        "Correct its name or tag, or push it.",
        failing(_PULL, r"not found|manifest unknown|no such image|does not exist|\b404\b|name unknown"),
    ),
    cause(
        "image.rate_limited",
        "The registry gives no more images for now: {message}",
        "Wait, log in at the registry, or use a mirror.",
        failing(_PULL, r"toomanyrequests|rate limit|too many requests|\b429\b"),
    ),
    cause(
        "image.wrong_platform",
        "The image {image} was not built for this kind of processor: {message}",
        "Build it for the device's platform too.",
        failing(
            _PULL | {"StartFailure", "CrashLoopBackOff"},
            r"no match.* platform|exec format error|platform .*does not match",
        ),
    ),
    cause(
        "image.registry_unreachable",
        "The device does not reach the registry of {image}: {message}",
        "Look at its network, its name service and its proxy.",
        failing(
            _PULL,
            r"time-?d? ?out|timeout|refused|unreachable|no such host|dns|resolv|reset|tls|certificate|eof",
        ),
    ),
    cause(
        "image.pull_failed",
        "The image {image} of {service} cannot be fetched ({times} tries): {message}",
        "Read the message; try `docker pull` on the device.",
        failing(_PULL),
    ),
    cause(
        "start.port_taken",
        "{service} cannot start, its port is taken: {message}",
        "Choose another port, or stop what has it.",
        failing(
            frozenset({"StartFailure"}), r"port is already allocated|address already in use|port .*taken"
        ),
    ),
    cause(
        "start.mount_refused",
        "{service} cannot start, a volume cannot be mounted: {message}",
        "Correct the path, or make it on the device.",
        failing(frozenset({"StartFailure"}), r"mount|bind source path"),
    ),
    cause(
        "start.command_missing",
        "{service} cannot start, its command is not in the image: {message}",
        "Correct the command, or the image.",
        failing(
            frozenset({"StartFailure"}),
            r"executable file not found|no such file or directory|not found in \$PATH",
        ),
    ),
    cause(
        "start.failed",
        "{service} cannot be started ({times} tries): {message}",
        "Read the message; the container's settings are in the target.",
        failing(frozenset({"StartFailure"})),
    ),
    cause(
        "service.out_of_memory",
        "{service} was ended because it took more memory than it may ({times} times).",
        "Raise its memory limit, or mend what takes it.",
        failing(frozenset({"CrashLoopBackOff"}), r"out of memory|oom|\b137\b"),
    ),
    cause(
        "service.probe_failed",
        "{service} is started again and again because its liveness probe fails: {message}",
        "Mend the service, or give the probe more time.",
        failing(frozenset({"CrashLoopBackOff"}), r"probe|liveness|unhealthy"),
    ),
    cause(
        "service.crashes",
        "{service} ends by itself again and again ({times} times): {message}",
        "Read its log.",
        failing(frozenset({"CrashLoopBackOff"})),
    ),
)
