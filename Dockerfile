# The agent's image: BCC from the distribution, everything else from requirements.lock.
#   podman build --build-arg REVISION=$(git rev-parse HEAD) -t ayaflow-exporter .
# For amd64 and arm64 alike. It has no kernel headers and no compiler but the LLVM inside of BCC.

FROM debian:bookworm-slim AS base
RUN apt-get update \
    && apt-get install -y --no-install-recommends python3-bpfcc \
    && rm -rf /var/lib/apt/lists/* /var/cache/apt /var/log/* /usr/share/doc /usr/share/man \
        /usr/share/locale /usr/share/bcc

FROM base AS build
RUN apt-get update && apt-get install -y --no-install-recommends python3-venv
RUN python3 -m venv --system-site-packages /opt/ayaflow
COPY requirements.lock /src/
RUN /opt/ayaflow/bin/pip install --no-cache-dir --no-deps --only-binary :all: --require-hashes \
        -r /src/requirements.lock
COPY setup.cfg pyproject.toml MANIFEST.in README.md LICENSE /src/
COPY bpf /src/bpf
COPY exporter /src/exporter
ARG REVISION=unknown
# setuptools is the distribution's, so that the build needs nothing beyond the lock.
RUN apt-get install -y --no-install-recommends python3-setuptools python3-wheel \
    && echo "$REVISION" > /src/exporter/REVISION \
    && /opt/ayaflow/bin/pip install --no-cache-dir --no-deps --no-build-isolation /src \
    && cp /src/exporter/REVISION \
        "$(/opt/ayaflow/bin/python -c 'import sysconfig; print(sysconfig.get_path("purelib"))')/exporter/" \
    && /opt/ayaflow/bin/pip uninstall -y pip setuptools \
    # Modules without .pyc files cost 4 MB of memory, and the root file system is read-only.
    && /opt/ayaflow/bin/python -m compileall -q /opt/ayaflow/lib

FROM base
ARG REVISION=unknown
LABEL org.opencontainers.image.title="ayaflow-exporter" \
    org.opencontainers.image.description="Packets and bytes of each domain and direction, as Prometheus and OpenTelemetry metrics" \
    org.opencontainers.image.licenses="Apache-2.0 AND GPL-2.0-only" \
    org.opencontainers.image.version="0.1.0" \
    org.opencontainers.image.revision="$REVISION"
RUN python3 -m compileall -q /usr/lib/python3/dist-packages /usr/lib/python3.11 \
    && mkdir -p /var/lib/ayaflow
COPY --from=build /opt/ayaflow /opt/ayaflow
EXPOSE 10517
VOLUME /var/lib/ayaflow
HEALTHCHECK --interval=30s --timeout=5s --start-period=15s CMD ["/opt/ayaflow/bin/python", "-I", "-c", \
    "import urllib.request; urllib.request.urlopen('http://127.0.0.1:10517/-/ready', timeout=4)"]
ENTRYPOINT ["/opt/ayaflow/bin/ayaflow-exporter"]
