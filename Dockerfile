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
ENV LOG_DIR=/var/log/fastlog
VOLUME /var/log/fastlog
EXPOSE 5514/udp
STOPSIGNAL SIGTERM
ENTRYPOINT ["fastlog"]
CMD ["serve"]
