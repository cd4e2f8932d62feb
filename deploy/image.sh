#!/usr/bin/env bash
# image.sh NAME VERSION ARCH builds the image that the Dockerfile describes as an
# OCI layout in dist/NAME-ARCH, with umoci and without a container engine. The
# same sources give the same digest.
set -euo pipefail
cd "$(dirname "$0")/.."
name=$1 version=$2 arch=$3
layout=dist/$name-$arch

.ci/need umoci:umoci /etc/ssl/certs/ca-certificates.crt:ca-certificates
rm -rf "$layout" "$layout.root"
mkdir -p "$layout.root"/{usr/bin,etc/ssl/certs,licenses}
trap 'rm -rf "$layout.root"' EXIT

GOARCH=$arch make --no-print-directory build VERSION="$version" BIN="$layout.root/usr/bin/podpath"
install -m 0644 /etc/ssl/certs/ca-certificates.crt "$layout.root/etc/ssl/certs/"
install -m 0644 LICENSE LICENSES/* "$layout.root/licenses/"
stamp=$(git log -1 --format=%cI 2>/dev/null || echo 1970-01-01T00:00:00Z)
find "$layout.root" -exec touch --date="$stamp" {} +

image=$layout:latest
umoci init --layout "$layout"
umoci new --image "$image"
history=(--history.created "$stamp" --history.created_by deploy/image.sh)
for dir in usr etc licenses; do
	umoci insert --image "$image" --rootless "${history[@]}" "$layout.root/$dir" "/$dir"
done
umoci config --image "$image" "${history[@]}" --created "$stamp" --os linux --architecture "$arch" \
	--config.env PATH=/usr/bin --config.entrypoint /usr/bin/podpath --config.cmd help \
	--config.label org.opencontainers.image.title=podpath \
	--config.label org.opencontainers.image.version="$version" \
	--config.label org.opencontainers.image.licenses="Apache-2.0 AND (GPL-2.0-only OR BSD-2-Clause)"
umoci gc --layout "$layout"
echo "$layout"
