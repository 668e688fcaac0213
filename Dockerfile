# fastlog is built where a compiler is, and runs where none is. BASE: any image with Python 3.11 or newer, its headers,
# venv and pip, on Debian.
ARG BASE=python:3.13-slim

FROM ${BASE} AS build
RUN apt-get update \
    && apt-get install -y --no-install-recommends gcc libc6-dev \
    && rm -rf /var/lib/apt/lists/*
COPY pyproject.toml setup.py README.md LICENSE /src/
COPY fastlog /src/fastlog
RUN python3 -m venv --without-pip /opt/fastlog \
    && python3 -m pip --python /opt/fastlog/bin/python3 install --no-cache-dir /src

# The test suite, for `make docker-test`; the image below does not need it.
FROM build AS tests
WORKDIR /src
RUN apt-get update \
    && apt-get install -y --no-install-recommends make \
    && rm -rf /var/lib/apt/lists/*
COPY . /src/
RUN python3 -m pip --python /opt/fastlog/bin/python3 install --no-cache-dir --editable '/src[dev]'
CMD ["/opt/fastlog/bin/pytest", "-n", "auto", "-p", "no:cacheprovider"]

FROM ${BASE}
RUN useradd --system --no-create-home --home-dir /nonexistent --shell /usr/sbin/nologin fastlog \
    && install --directory --owner fastlog --group fastlog --mode 0750 /var/log/fastlog
COPY --from=build /opt/fastlog /opt/fastlog
ENV PATH=/opt/fastlog/bin:$PATH LOG_DIR=/var/log/fastlog
USER fastlog
VOLUME /var/log/fastlog
EXPOSE 5514/udp 8080/tcp
# Where entries are being lost, it answers 503, and the container is unhealthy, too.
HEALTHCHECK --interval=10s --timeout=5s --start-period=10s CMD ["python3", "-c", \
    "import http.client, os, sys; \
    dashboard = http.client.HTTPConnection('127.0.0.1', int(os.environ.get('DASHBOARD_PORT') or 8080), timeout=4); \
    dashboard.request('GET', '/health'); \
    answer = dashboard.getresponse(); \
    print(answer.read().decode()); \
    sys.exit(answer.status != 200)"]
STOPSIGNAL SIGTERM
ENTRYPOINT ["fastlog"]
CMD ["serve"]
