#!/bin/sh
# Fails unless its argument is a version by SemVer 2.0.0, without a "v": the image, the chart, and the release need one.
set -eu
number='(0|[1-9][0-9]*)'
identifier="($number|[0-9]*[A-Za-z-][0-9A-Za-z-]*)"
if printf '%s' "$1" | grep -Eqx "$number\\.$number\\.$number(-$identifier(\\.$identifier)*)?(\\+[0-9A-Za-z-]+(\\.[0-9A-Za-z-]+)*)?" &&
	[ "$(printf '%s\n' "$1" | wc -l)" -eq 1 ]; then
	exit
fi
echo "VERSION=$1 is not a version: expected MAJOR.MINOR.PATCH, with an optional pre-release, as SemVer defines it." >&2
echo "Nothing was removed or built. Example: VERSION=v1.2.3 or VERSION=v1.2.3-rc.1" >&2
exit 1
