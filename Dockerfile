# One stage compiles fastlog, with the client that `fastlog ship` needs for NATS (7 MB); the image that runs it has no
# compiler. BASE may be any image of Debian with Python 3.11 or newer, its headers, venv and pip.
ARG BASE=python:3.13-slim

FROM ${BASE} AS build
RUN apt-get update \
    && apt-get install -y --no-install-recommends gcc libc6-dev zlib1g-dev \
    && rm -rf /var/lib/apt/lists/*
COPY pyproject.toml setup.py build_needs.py README.md LICENSE /src/
COPY fastlog /src/fastlog
RUN python3 -m venv --without-pip /opt/fastlog \
    && python3 -m pip --python /opt/fastlog/bin/python3 install --no-cache-dir '/src[nats]'

# The test suite, for `make docker-test`. The image below does not use this stage.
FROM build AS tests
WORKDIR /src
RUN apt-get update \
    && apt-get install -y --no-install-recommends make \
    && rm -rf /var/lib/apt/lists/*
COPY . /src/
RUN python3 -m pip --python /opt/fastlog/bin/python3 install --no-cache-dir --editable '/src[dev]'
CMD ["/opt/fastlog/bin/pytest", "-n", "auto", "-p", "no:cacheprovider"]

FROM ${BASE}
LABEL org.opencontainers.image.title="fastlog" \
      org.opencontainers.image.description="Collects structured logs over UDP" \
      org.opencontainers.image.licenses="MIT"
RUN groupadd --gid 10001 fastlog \
    && useradd --uid 10001 --gid 10001 --no-create-home --home-dir /nonexistent --shell /usr/sbin/nologin fastlog \
    && install --directory --owner 10001 --group 10001 --mode 0750 /var/log/fastlog
COPY --from=build /opt/fastlog /opt/fastlog
ENV PATH=/opt/fastlog/bin:$PATH LOG_DIR=/var/log/fastlog
# By number: Kubernetes cannot tell that a user given by name is not root, and with runAsNonRoot it refuses the image.
USER 10001:10001
VOLUME /var/log/fastlog
EXPOSE 5514/udp 8080/tcp
# /health answers 503 while entries are being lost, and then the container is unhealthy, too. A server whose dashboard is
# off cannot be asked: it counts as healthy while it runs.
HEALTHCHECK --interval=10s --timeout=5s --start-period=10s CMD ["python3", "-c", \
    "import http.client, os, sys; \
    port = os.environ.get('FASTLOG_DASHBOARD_PORT') or os.environ.get('DASHBOARD_PORT') or '8080'; \
    port.lower() == 'off' and sys.exit(print('the dashboard is off')); \
    dashboard = http.client.HTTPConnection('127.0.0.1', int(port), timeout=4); \
    dashboard.request('GET', '/health'); \
    answer = dashboard.getresponse(); \
    print(answer.read().decode()); \
    sys.exit(answer.status != 200)"]
STOPSIGNAL SIGTERM
ENTRYPOINT ["fastlog"]
CMD ["serve"]
