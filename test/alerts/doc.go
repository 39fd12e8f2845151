// SPDX-License-Identifier: Apache-2.0

// Package alerts tests the chart's alerts and its dashboard with Prometheus' own engine: every alert fires on what a
// broken Outrigger serves, and none on what a sound one does. It is a module of its own, so that nothing of Prometheus
// reaches the product.
package alerts
