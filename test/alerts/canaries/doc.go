// SPDX-License-Identifier: Apache-2.0

// Package canaries tests canaries with a Prometheus server: it scrapes an application that serves Istio's series, as requests by the routes
// in a real API server produce them, and answers the queries of Outrigger's routing controller.
package canaries
