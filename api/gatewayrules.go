// SPDX-License-Identifier: Apache-2.0

package api

import (
	"strconv"
	"strings"

	"k8s.io/apimachinery/pkg/util/validation"
)

// PortInRange reports whether a port is the one, or among those, of "80" or "8000-8100".
func PortInRange(text string, port uint32) bool {
	low, high, ok := portRange(text)
	return ok && low <= port && port <= high
}

func portRange(text string) (low, high uint32, ok bool) {
	first, last, isRange := strings.Cut(text, "-")
	if !isRange {
		last = first
	}
	a, err := strconv.ParseUint(first, 10, 16)
	b, errB := strconv.ParseUint(last, 10, 16)
	return uint32(a), uint32(b), err == nil && errB == nil && 0 < a && a <= b
}

func isPortRange(text string) bool {
	_, _, ok := portRange(text)
	return ok
}

func isSelector(text string) bool {
	_, err := parseSelector(text)
	return err == nil
}

func isGatewayPattern(text string) bool {
	namespace, name, found := strings.Cut(text, "/")
	return found && len(validation.IsDNS1123Label(namespace)) == 0 && (name == "*" || len(validation.IsDNS1123Label(name)) == 0)
}
