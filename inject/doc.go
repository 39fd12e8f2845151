// SPDX-License-Identifier: Apache-2.0

// Package inject decides whether a pod gets Istio's sidecar and returns the pod that results, with the reason. It is
// pure: the pod, its namespace and the parsed configuration are all it knows.
package inject
