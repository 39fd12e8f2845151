// SPDX-License-Identifier: Apache-2.0

package diagnose

// ServiceStatus is the state of the routes of a Service, in the form of -o json.
type ServiceStatus struct {
	Name string `json:"name"`
	// State is one of the states below.
	State    string          `json:"state"`
	Default  string          `json:"default,omitempty"`
	Versions []VersionStatus `json:"versions"`
	Gateways []GatewayStatus `json:"gateways,omitempty"`
	// Routes lists the routes by caller, if a VirtualService that Outrigger does not write is among them.
	Routes []PathStatus `json:"routes,omitempty"`
	// Skipped says why a Service of this kind gets no routes.
	Skipped string `json:"skipped,omitempty"`
	// Canary is the canary that the annotations request, or that progresses, or else the one that the user aborted last.
	Canary *CanaryStatus `json:"canary,omitempty"`
	// AutoCanaries is true if each new version starts a canary (outrigger.dev/canary=auto).
	AutoCanaries bool `json:"autoCanaries,omitempty"`
	// WhenThawed is the route of callers in the mesh when the freeze ends, such as "v1=70 v2=30". It is empty if that changes nothing.
	WhenThawed string `json:"whenThawed,omitempty"`
	// Pending are the settings that are not in effect yet.
	Pending []PendingStatus `json:"pending,omitempty"`
	// Superseded are the settings that have no effect because a canary has succeeded since. This is expected, and not a problem.
	Superseded []SupersededStatus `json:"superseded,omitempty"`
	// History are the decisions before the current one that undo returns to, newest first.
	History []PastDecision `json:"history,omitempty"`
	// Due are the writes that the controller has not made yet.
	Due []string `json:"due,omitempty"`
	// Unwritten are the writes that routing=observe prevents.
	Unwritten []string        `json:"unwritten,omitempty"`
	Problems  []ProblemStatus `json:"problems,omitempty"`
}

// VersionStatus is a version of a Service, with its pods and its share of the requests.
type VersionStatus struct {
	Version string `json:"version"` // empty for pods without one
	Ready   int    `json:"ready"`
	Pods    int    `json:"pods"`
	// Weight is the share of unmatched requests. It is nil if the route names no version, so that all pods share the requests.
	Weight    *int     `json:"weight,omitempty"`
	Match     []string `json:"match,omitempty"`
	Mirror    float64  `json:"mirror,omitempty"` // percentage of unmatched requests that are mirrored
	Workloads []string `json:"workloads,omitempty"`
	Subset    string   `json:"subset,omitempty"`
}

// PathStatus says which VirtualService routes callers, and to which versions.
type PathStatus struct {
	At        string   `json:"at"` // "mesh", or namespace/name of a Gateway
	Hosts     []string `json:"hosts,omitempty"`
	Object    string   `json:"object,omitempty"` // empty if none routes, so that all pods share the requests
	Outrigger bool     `json:"outrigger"`        // Outrigger writes it
	Shares    string   `json:"shares"`
}

// PendingStatus is an annotation that is not, or only partly, in effect yet.
type PendingStatus struct {
	Annotation string   `json:"annotation"`
	Value      string   `json:"value,omitempty"` // empty if it was removed
	Missing    []string `json:"missing"`         // what it waits for
}

// SupersededStatus is an annotation that has no effect, because a canary has succeeded since.
type SupersededStatus struct {
	Annotation string `json:"annotation"`
	Value      string `json:"value"`
	By         string `json:"by"` // the version whose canary succeeded
	// Advice is a sentence with the command that updates the annotations to what is in effect.
	Advice string `json:"advice,omitempty"`
}

// GatewayStatus is a gateway through which callers outside the mesh reach a Service.
type GatewayStatus struct {
	Name      string   `json:"name"` // namespace/name
	Hosts     []string `json:"hosts"`
	Port      uint32   `json:"port,omitempty"`
	Addresses []string `json:"addresses,omitempty"` // host:port of load balancers
	NodePort  int32    `json:"nodePort,omitempty"`
	Node      string   `json:"node,omitempty"` // the address of a node
	URL       string   `json:"url,omitempty"`
	// Certificate is where the gateway's pods read the certificate of the URL: "Secret istio-system/web-tls".
	Certificate string `json:"certificate,omitempty"`
}

// RestartStatus is a workload with pods that have no sidecar, and the command that recreates them.
type RestartStatus struct {
	Workload string `json:"workload"` // Deployment/app
	Pods     int    `json:"pods"`
	Command  string `json:"command"`
}

// ProblemStatus is a problem of an object.
type ProblemStatus struct {
	Object  string `json:"object"`
	Field   string `json:"field,omitempty"`
	Value   string `json:"value,omitempty"`
	Reason  string `json:"reason"`
	Message string `json:"message"`
	Advice  string `json:"advice,omitempty"`
}

// The states of a Service.
const (
	StateRouted       = "routed"        // Outrigger's VirtualService shares its requests
	stateStillExposed = "still-exposed" // routed, and exposed as before an annotation about it became invalid
	StateDetached     = "detached"      // Outrigger's VirtualService was edited by hand and is no longer written
	StateOther        = "other route"   // a VirtualService that Outrigger does not write shares its requests
	StateSplit        = "split"         // several versions received traffic before Outrigger; no route until you decide
	stateUndecided    = "undecided"     // pods without a version prevent a route
	StateSubsets      = "subsets only"  // a DestinationRule alone
	stateSkipped      = "skipped"       // a kind of Service that routes cannot serve
	StateWaiting      = "no route"      // routes are requested and do not exist: see the problems
	StateObserved     = "observed"      // outrigger.dev/routing=observe, and no object exists
	StateOff          = "off"           // no label requests routes
	StateUnknown      = "unknown"       // the user has no permission to read what decides
	StateDisabled     = "disabled"      // outrigger.dev/routing=disabled
)

// stateMeanings explains the states that ServiceStatus.Skipped does not explain.
var stateMeanings = map[string]string{
	StateRouted:       "Outrigger's VirtualService routes its requests",
	stateStillExposed: "Outrigger's VirtualService routes its requests; an exposure annotation is invalid, so the existing exposure is unchanged",
	StateDetached:     "Outrigger's VirtualService was edited by hand, and Outrigger no longer writes it",
	StateOther:        "a VirtualService that Outrigger does not write shares its requests",
	StateSplit:        "several versions already received traffic before Outrigger; they keep it until you decide",
	stateUndecided:    "a default route would take the traffic of pods without a version",
	StateSubsets:      "only a DestinationRule, no VirtualService of Outrigger",
	StateWaiting:      "routes are requested, but do not exist yet",
	StateObserved:     "a dry run: nothing is written",
	StateOff:          "no label requests routes",
	StateUnknown:      "you have no permission to read what decides about its routes",
	StateDisabled:     "no routes are written, and existing ones are deleted",
}
