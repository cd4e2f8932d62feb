# One static binary in an empty image.
#
# It has to run as root: the capabilities that it needs (deploy/debug-pod.yaml
# lists them, docs/requirements.md says what is lost without each) would have to
# be ambient for another user, which Kubernetes cannot ask for.
FROM golang:1.26-bookworm AS build
WORKDIR /src
COPY go.mod go.sum ./
RUN go mod download
COPY . .
ARG VERSION=unknown
ARG TARGETARCH
RUN GOARCH=$TARGETARCH make build VERSION=$VERSION

FROM scratch
COPY --from=build /etc/ssl/certs/ca-certificates.crt /etc/ssl/certs/
COPY --from=build /src/LICENSE /src/LICENSES /licenses/
COPY --from=build /src/bin/podpath /usr/bin/podpath
# `kubectl debug … -- podpath …` replaces the entrypoint and finds it by PATH.
ENV PATH=/usr/bin
ENTRYPOINT ["/usr/bin/podpath"]
CMD ["help"]
