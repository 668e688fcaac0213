# Build the wheels where a compiler is, run them where none is.
FROM python:3.13-slim AS build
RUN apt-get update && apt-get install -y --no-install-recommends gcc libc6-dev && rm -rf /var/lib/apt/lists/*
COPY pyproject.toml setup.py README.md LICENSE /src/
COPY fastlog /src/fastlog
RUN pip wheel --no-cache-dir --wheel-dir /wheels /src

FROM python:3.13-slim
RUN --mount=type=bind,from=build,source=/wheels,target=/wheels pip install --no-cache-dir --no-compile /wheels/*.whl \
    && useradd --system --no-create-home fastlog \
    && install -d -o fastlog -g fastlog /var/log/fastlog
USER fastlog
ENV LOG_DIR=/var/log/fastlog DASHBOARD_HOST=0.0.0.0 DASHBOARD_NO_TOKEN=true
VOLUME /var/log/fastlog
# The dashboard has no token here: publish its port to loopback, -p 127.0.0.1:8080:8080, or set DASHBOARD_TOKEN.
EXPOSE 5514/udp 8080
STOPSIGNAL SIGTERM
ENTRYPOINT ["fastlog"]
CMD ["serve"]
