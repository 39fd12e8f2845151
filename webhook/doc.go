// SPDX-License-Identifier: Apache-2.0

// Package webhook serves package inject over HTTP, and warns about workloads, Services, and Namespaces.
//
// Create an IstioConfiguration, which keeps Istio's current configuration, and a Handler that uses it; serve Handler.HTTP
// through Paths, behind a Gate. The Handler turns an admission request into a call of inject.Review and the report into a
// response. It is also the only place that keeps anything from earlier pods (answers.go).
package webhook
