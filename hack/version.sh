#!/bin/sh
# Prints the version of a source tree, this one by default. On a commit with a tag such as v1.2.3 and without changes it is
# 1.2.3. Anywhere else it is the chart's version, which ends in -dev between releases, and the commit: 1.3.0-dev+0123456789ab.
set -eu
root=${1:-$(dirname "$0")/..}
tag=$(git -C "$root" describe --tags --exact-match --match 'v[0-9]*' --dirty=+dirty 2>/dev/null) || tag=
case $tag in
'' | *+dirty) ;;
*)
	echo "${tag#v}"
	exit
	;;
esac
version=$(sed -n 's/^version: //p' "$root/charts/outrigger/Chart.yaml")
commit=$(git -C "$root" describe --always --exclude '*' --abbrev=12 --dirty=.dirty 2>/dev/null) || commit=unknown
echo "$version+$commit"
