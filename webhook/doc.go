// SPDX-License-Identifier: Apache-2.0

// Package webhook serves package inject over HTTP, and warns about workloads, Services, and Namespaces.
//
// Create an IstioConfiguration, which keeps Istio's current configuration, and a Handler that uses it. Set Handler.Gate to bound the
// work, and serve Handler.HTTP through Paths, together with the validating handlers (functions that end in Advice, and InjectedPods),
// each behind Gate.Limit. The Handler turns an admission request into a call of inject.Review and the report into a response. Only
// the Handler keeps anything from earlier pods that an answer can depend on (answers.go).
package webhook
