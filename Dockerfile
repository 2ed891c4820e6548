# The relay's image: one static binary and a CA bundle, nothing else.
#
#   docker build --build-arg TARGET=x86_64-unknown-linux-musl  -t <repository>/credential-relay .
#   docker build --build-arg TARGET=aarch64-unknown-linux-musl -t <repository>/credential-relay .

FROM rust:1.95-alpine AS build
ARG TARGET=x86_64-unknown-linux-musl
RUN apk add --no-cache ca-certificates musl-dev make
WORKDIR /src
COPY Cargo.toml Cargo.lock ./
COPY relay relay
RUN rustup target add "$TARGET" \
 && cargo build --release --locked --no-default-features --target "$TARGET" \
 && cp "target/$TARGET/release/credential-relay" /credential-relay

# What a volume mounted there starts from, such as that of an ECS task: the relay's own user's.
RUN mkdir -p /run/credential-relay

FROM scratch
COPY --from=build /etc/ssl/certs/ca-certificates.crt /etc/ssl/certs/ca-certificates.crt
COPY --from=build /credential-relay /credential-relay
COPY --from=build --chown=65532:65532 /run/credential-relay /run/credential-relay
VOLUME /run/credential-relay
ENV SSL_CERT_FILE=/etc/ssl/certs/ca-certificates.crt
USER 65532:65532
LABEL org.opencontainers.image.title="credential-relay" \
      org.opencontainers.image.licenses="Apache-2.0"
ENTRYPOINT ["/credential-relay"]
CMD ["serve"]
