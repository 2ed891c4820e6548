# The relay's image: one static binary and a CA bundle. No shell, no libc, nothing to patch but these two.
#
#   docker build --build-arg VERSION=0.1.0 --build-arg REVISION="$(git rev-parse HEAD)" \
#       --build-arg SOURCE=https://… --platform linux/arm64 -t <repository>/credential-relay:0.1.0 .
#
# `make image` does that. Platforms are linux/amd64 and linux/arm64; either is cross-compiled on the builder's own, without
# emulation. RUST may name the same base by its digest, so that two builds are of the same parts; with SOURCE_DATE_EPOCH
# (BuildKit: and rewrite-timestamp=true, podman: --timestamp) they give the same layers. BINARY may name an image that
# has the files of the stage `compiled`, and then nothing is compiled: so the tests build the very image that users do.
ARG RUST=rust:1.95.0-slim-bookworm
ARG BINARY=compiled

FROM --platform=$BUILDPLATFORM $RUST AS compiled
RUN apt-get update \
 && apt-get install -y --no-install-recommends ca-certificates python3-venv \
 && rm -rf /var/lib/apt/lists/*
COPY deploy/image/requirements.txt /opt/image/
RUN python3 -m venv /opt/zig && /opt/zig/bin/pip install --no-cache-dir --require-hashes -r /opt/image/requirements.txt
ENV PATH=/opt/zig/bin:$PATH
COPY deploy/image /opt/image
# The builder's own: of --platform, else the machine's.
ARG TARGETARCH
RUN /opt/image/compile --prepare
WORKDIR /src
# The dependencies' layer: it is built anew only when they change.
COPY Cargo.toml Cargo.lock ./
COPY listener listener
RUN mkdir relay && touch relay/lib.rs && echo 'fn main() {}' >relay/main.rs && /opt/image/compile && rm -r relay
COPY relay relay
# An empty lib.rs that was compiled must not pass for this one, whose time may be older.
RUN touch relay/lib.rs relay/main.rs && /opt/image/compile /files

FROM $BINARY AS binary

FROM scratch
COPY --from=binary /files/credential-relay /credential-relay
COPY --from=binary /files/ca-certificates.crt /etc/ssl/certs/ca-certificates.crt
# What a volume mounted there starts from, such as that of an ECS task: the relay's own user's.
COPY --from=binary --chown=65532:65532 /files/run /run/credential-relay
VOLUME /run/credential-relay
ENV SSL_CERT_FILE=/etc/ssl/certs/ca-certificates.crt
USER 65532:65532
# For Docker and Compose; Kubernetes has probes of its own and ignores it. Not readiness: engines that restart or replace what
# is unhealthy would do so while an upstream is down. It reads the relay's configuration: name that by CREDENTIAL_RELAY_CONFIG,
# or give the container a health check with the same --config as the relay.
HEALTHCHECK --interval=10s --timeout=5s --start-period=300s CMD ["/credential-relay", "healthcheck", "--probe", "startup"]
ENTRYPOINT ["/credential-relay"]
CMD ["serve"]
ARG VERSION=unknown
ARG REVISION=unknown
ARG SOURCE=unknown
LABEL org.opencontainers.image.title="credential-relay" \
      org.opencontainers.image.description="Short-lived, rotating AWS credentials for the AWS SDKs of a pod" \
      org.opencontainers.image.licenses="Apache-2.0" \
      org.opencontainers.image.version="$VERSION" \
      org.opencontainers.image.revision="$REVISION" \
      org.opencontainers.image.source="$SOURCE"
