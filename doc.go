// SPDX-License-Identifier: Apache-2.0

// Package outrigger is the root of the module. It holds no code; the test beside it keeps the rules of the house.
package outrigger

//go:generate go test -run TestReference|TestChartSchema|TestChartExposureKeys|TestChartReadme|TestMetricsPage . -update
