// SPDX-License-Identifier: Apache-2.0

package diagnose

import (
	"slices"
	"time"
)

// StatusReport is the result of status, in the form of -o json.
type StatusReport struct {
	// At is when the cluster was read.
	At time.Time `json:"-"`
	// IsPart is true for what a reading has read so far.
	IsPart bool `json:"-"`
	// Frozen says that routing.freeze is true, and how to end that. It is empty otherwise, or if that is unknown.
	Frozen string `json:"frozen,omitempty"`
	// NotRunning explains that no controller updates the routes, and the fix. It is empty if one runs or if that is unknown.
	NotRunning string            `json:"notRunning,omitempty"`
	Namespaces []NamespaceStatus `json:"namespaces"`
	// Certificates are the certificates of the injection webhooks.
	Certificates []CertificateStatus `json:"certificates,omitempty"`
	Notes        []string            `json:"notes,omitempty"` // what could not be read
}

// NamespaceStatus is the status of a namespace and of its Services.
type NamespaceStatus struct {
	Name string `json:"name"`
	// Injection is the value of the labels: "enabled", "revision NAME", "disabled", or empty.
	Injection string `json:"injection,omitempty"`
	// Routing is the value of the label outrigger.dev/routing.
	Routing        string          `json:"routing,omitempty"`
	Services       []ServiceStatus `json:"services"`
	WithoutSidecar []RestartStatus `json:"withoutSidecar,omitempty"`
	Problems       []ProblemStatus `json:"problems,omitempty"`
}

// CertificateStatus is the state of the certificate of one installation's webhook, as far as it is visible without its Secret.
type CertificateStatus struct {
	Webhook string `json:"webhook"` // the MutatingWebhookConfiguration
	Source  string `json:"source"`  // one of the values of certificates.source
	// Certificate is cert-manager's, as namespace/name.
	Certificate string `json:"certificate,omitempty"`
	Ready       bool   `json:"ready"`
	// Problem says why it is not ready.
	Problem string `json:"problem,omitempty"`
	// Until is when cert-manager's certificate expires, or else the last published CA.
	Until *time.Time `json:"until,omitempty"`
}

// IsManaged reports whether a namespace has a label or Services that Outrigger reads.
func (n NamespaceStatus) IsManaged() bool {
	return n.Injection != "" || n.Routing != "" || slices.ContainsFunc(n.Services, func(s ServiceStatus) bool { return s.State != StateOff })
}

// CountServices returns the number of Services in all namespaces.
func (r StatusReport) CountServices() int {
	count := 0
	for _, n := range r.Namespaces {
		count += len(n.Services)
	}
	return count
}
