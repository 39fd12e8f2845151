// SPDX-License-Identifier: Apache-2.0

package cli

import (
	"time"

	"outrigger.dev/outrigger/internal/diagnose"
)

// statusReport is the result of status, in the form of -o json.
type statusReport struct {
	at time.Time // when the cluster was read
	// Frozen says that routing.freeze is true, and how to end that. It is empty otherwise, or if that is unknown.
	Frozen string `json:"frozen,omitempty"`
	// NotRunning explains that no controller updates the routes, and the fix. It is empty if one runs or if that is unknown.
	NotRunning string            `json:"notRunning,omitempty"`
	Namespaces []namespaceStatus `json:"namespaces"`
	// Certificates are the certificates of the injection webhooks.
	Certificates []certificateStatus `json:"certificates,omitempty"`
	Notes        []string            `json:"notes,omitempty"` // what could not be read
}

type namespaceStatus struct {
	Name string `json:"name"`
	// Injection is the value of the labels: "enabled", "revision NAME", "disabled", or empty.
	Injection string `json:"injection,omitempty"`
	// Routing is the value of the label outrigger.dev/routing.
	Routing        string                   `json:"routing,omitempty"`
	Services       []diagnose.ServiceStatus `json:"services"`
	WithoutSidecar []diagnose.RestartStatus `json:"withoutSidecar,omitempty"`
	Problems       []diagnose.ProblemStatus `json:"problems,omitempty"`
}
