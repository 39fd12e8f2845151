# syntax=docker/dockerfile:1
# Built for the platform of the machine that builds, and compiled for the one that is asked for.
FROM --platform=$BUILDPLATFORM golang:1.26.10 AS build
WORKDIR /src
COPY go.mod go.sum ./
RUN go mod download
COPY . .
ARG TARGETOS TARGETARCH VERSION=unknown
RUN CGO_ENABLED=0 GOOS=$TARGETOS GOARCH=$TARGETARCH \
    go build -trimpath -ldflags "-s -w -X main.version=$VERSION" -o /outrigger ./cmd/outrigger

FROM gcr.io/distroless/static:nonroot
COPY --from=build /outrigger /outrigger
USER 65532:65532
ENTRYPOINT ["/outrigger"]
