// SPDX-License-Identifier: Apache-2.0

// Package traffic records what callers see while versions and routes change, and draws it. The scenarios in folder scenarios
// fill a Record, in a real cluster; everything here is pure and needs none:
//
//	Record    the responses of each way into the Service, marks where objects were written, and the decisions
//	Shares    the shares that the written routes gave a version, and what it got beyond them
//	Faults    failed responses, and those from a version that no decision sent traffic to
//	Draw      one plot for each way: responses per version and errors over time, with the marks
//	WritePage one HTML page with all plots
//
// The parts in a cluster:
//
//	scenarios   Cluster (kubectl, helm, and outrigger as a user types them) and Scene (a namespace, its loads, and a watch
//	            that marks writes); the scenarios are Go tests with sentences as names
//	app         the program in the pods: it names its version in each response, and is the client in the mesh and the metrics server
//	metrics     a Prometheus in memory, for clusters that pull no image: the scenario about canaries and "make demo" query it
//	load        requests at a constant rate, at the gateway and in the client
//
// TestTraffic lists the scenarios in their order: without Outrigger, installation, with Outrigger, canary, operation, removal. Run it
// with "make e2e"; docs/testing.md has the lines for kind, k3d, and other clusters.
package traffic
