"""Logged exceptions are told in a few lines, as the product does; a plugin as the others.

The library's own default prints the variables of every frame: for one of a request that is the whole API with all of
its routes, a minute of work during which nobody else is served.
"""

import structlog


def pytest_configure():
    """Build on the library's default; what is tested may configure it anew."""
    structlog.configure(
        processors=[
            *structlog.get_config()["processors"][:-1],
            structlog.dev.ConsoleRenderer(exception_formatter=structlog.dev.plain_traceback),
        ]
    )
