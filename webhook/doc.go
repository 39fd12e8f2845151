// SPDX-License-Identifier: Apache-2.0

// Package webhook answers the API server's question about a pod: it turns an admission request into a call of
// inject.Pod and the report into an admission response, and it keeps Istio's configuration as it stands in the cluster.
package webhook
