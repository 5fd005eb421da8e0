# One image for every command: `docker run ... claimtrace:0.2.0 doctor`.
# The environment is made in a stage of its own, so that no build cache comes along.

FROM python:3.11.14-slim-bookworm AS build

ENV PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_NO_CACHE_DIR=1
RUN python -m venv /opt/claimtrace
ENV PATH=/opt/claimtrace/bin:$PATH
WORKDIR /build

# The locked packages first: they change less often than the code.
COPY requirements.lock ./
RUN pip install --require-hashes -r requirements.lock

COPY pyproject.toml README.md LICENSE ./
COPY cli cli/
COPY serving serving/
COPY stream stream/
COPY training training/
COPY featurestore featurestore/
COPY models models/
COPY monitoring monitoring/
COPY producers producers/
COPY claimtrace claimtrace/
COPY claimtrace_examples claimtrace_examples/
RUN pip install --no-deps --no-build-isolation .


FROM python:3.11.14-slim-bookworm

# All that is ever written lies in /data: folder, kernels that were compiled, our own log.
RUN groupadd --gid 10001 claimtrace \
 && useradd --uid 10001 --gid 10001 --home-dir /data --no-create-home \
      --shell /usr/sbin/nologin claimtrace \
 && install -d -o 10001 -g 10001 -m 0750 /data

COPY --from=build /opt/claimtrace /opt/claimtrace

ENV PATH=/opt/claimtrace/bin:$PATH \
    PYTHONUNBUFFERED=1 \
    XDG_CACHE_HOME=/data/.cache \
    CLAIMTRACE_FOLDER=/data

USER 10001:10001
WORKDIR /data
VOLUME /data
EXPOSE 9464

# Alive, not ready: a worker that waits for its broker must not be killed for it.
# Needs metrics.listen on port 9464; switch it off for commands that don't serve metrics.
HEALTHCHECK --interval=10s --timeout=6s --start-period=60s --retries=3 \
  CMD ["python", "-c", "import urllib.request; urllib.request.urlopen('http://127.0.0.1:9464/live', timeout=5)"]

ENTRYPOINT ["claimtrace"]
CMD ["--help"]
