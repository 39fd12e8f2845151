// SPDX-License-Identifier: Apache-2.0

package cli

import "outrigger.dev/outrigger/internal/diagnose"

// statusReport is what status says, in the form of -o json.
type statusReport struct {
	// NotRunning says that no controller updates the routes, and what to do; empty if one runs or if that is unknown.
	NotRunning string            `json:"notRunning,omitempty"`
	Namespaces []namespaceStatus `json:"namespaces"`
	// Certificates are those of the webhooks through which pods are injected.
	Certificates []certificateStatus `json:"certificates,omitempty"`
	Notes        []string            `json:"notes,omitempty"` // what could not be read
}

type namespaceStatus struct {
	Name string `json:"name"`
	// Injection is what the labels say: "enabled", "revision NAME", "disabled", or empty.
	Injection string `json:"injection,omitempty"`
	// Routing is the value of the label outrigger.dev/routing.
	Routing        string                   `json:"routing,omitempty"`
	Services       []diagnose.ServiceStatus `json:"services"`
	WithoutSidecar []diagnose.RestartStatus `json:"withoutSidecar,omitempty"`
	Problems       []diagnose.ProblemStatus `json:"problems,omitempty"`
}
