// SPDX-License-Identifier: Apache-2.0

// Package routing turns a Service and the versions of its pods into a DestinationRule, VirtualServices and a
// Gateway, or none, and says what must change. It is pure: everything it depends on is a field of Observed or the
// time it is given, so the same input gives the same bytes.
package routing
