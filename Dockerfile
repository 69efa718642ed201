# The program, the certificates of the usual authorities, and nothing else.

FROM golang:1.26 AS build
WORKDIR /src
COPY go.mod go.sum ./
RUN go mod download
COPY . .
RUN make build && mkdir -p /root-fs/data /root-fs/tmp /root-fs/etc/ssl/certs \
 && cp bin/poe /root-fs/poe \
 && cp /etc/ssl/certs/ca-certificates.crt /root-fs/etc/ssl/certs/

FROM scratch
COPY --from=build /root-fs/poe /poe
COPY --from=build /root-fs/etc /etc
# The ledger, readable by poe alone, and room for bodies on their way.
COPY --from=build --chown=65532:65532 --chmod=0700 /root-fs/data /data
COPY --from=build --chmod=1777 /root-fs/tmp /tmp
USER 65532:65532
# The admin listener is for the container itself: for others it needs a token (POE_ADMIN_TOKEN_FILE). Beside the ledger's folder there is
# nothing that outlives the container, so its high-water file lies inside; a second volume is better.
# Container engines kill what has not ended 10 s after they have asked it to: what runs is settled before. Who gives it more time may raise the grace.
ENV POE_STORE=pebble:/data POE_HIGH_WATER=/data/high-water POE_ADMIN=127.0.0.1:8081 POE_GRACE=8s
VOLUME /data
EXPOSE 8080
HEALTHCHECK --interval=10s --timeout=5s --start-period=30s CMD ["/poe", "health"]
STOPSIGNAL SIGTERM
ENTRYPOINT ["/poe"]
CMD ["serve"]
