"""librdkafka's log lines as ours."""

import logging

import structlog

_log = structlog.get_logger()


class _Handler(logging.Handler):
    """Passes lines on. They tell of single connections; outages are logged where they are handled."""

    def emit(self, record: logging.LogRecord) -> None:
        _log.debug("kafka.said", line=record.getMessage())


KAFKA_LOGGER = logging.getLogger("librdkafka")
KAFKA_LOGGER.propagate = False
KAFKA_LOGGER.addHandler(_Handler())
