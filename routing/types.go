// SPDX-License-Identifier: Apache-2.0

package routing

import (
	"time"

	networkingv1 "istio.io/client-go/pkg/apis/networking/v1"
	corev1 "k8s.io/api/core/v1"
	networkingk8s "k8s.io/api/networking/v1"

	"outrigger.dev/outrigger/api"
)

// Observed is everything that one plan depends on, besides the time.
type Observed struct {
	Service   *corev1.Service
	Namespace *corev1.Namespace
	Intent    api.RouteIntent
	// LabelChange is what FollowVersionLabel decided about a version label that was written after the route.
	LabelChange LabelChange
	// OtherVersionLabel is a common label of versions that pods have, where none has the version label; see UntriedVersionLabels.
	OtherVersionLabel string
	// Pods are the unfinished pods that the Service selects, counted by workload and version, and the WorkloadEntries that
	// it selects, each as one pod. Pods of Jobs are left out.
	Pods []PodGroup
	// Workloads are the Deployments, StatefulSets and DaemonSets of the namespace, with or without pods.
	Workloads []Workload
	// Existing holds our objects for this Service as they are in the cluster: with our label and owner reference.
	Existing Objects
	// DeletedDestinationRule is our DestinationRule if it was deleted recently with its record; nil if there is none. It was
	// restored from a backup and deleted by the garbage collector, because its owner was the Service of the backup, or it was
	// replaced with its annotations.
	DeletedDestinationRule *networkingv1.DestinationRule
	// Foreign holds the foreign objects that may concern the Service's hosts or our names.
	Foreign Objects
	// IngressServices are the Services that select pods of the wanted ingress gateway.
	IngressServices []*corev1.Service
	// IngressSelectors are the "istio" label values of the gateways that exist in the cluster, for messages.
	IngressSelectors []string
	// ServiceNames holds the names of all Services in the namespace; a derived name must not be one of them.
	ServiceNames map[string]bool
	// ManagedBy names the Rollout, Canary, or HTTPRoute that manages the Service, e.g. "Rollout demo/reviews"; else empty.
	ManagedBy string
	// Ambient is true if the namespace is in Istio's ambient mode.
	Ambient bool
	// HostOwners names the Service or ServiceEntry that owns a host to expose, by host:
	// "ServiceEntry shop/payments". A host without an entry belongs to neither.
	HostOwners map[string]string
	// Ingresses are those that Istio serves, and that share a host with the exposure or route to the Service.
	Ingresses []*networkingk8s.Ingress
	// IngressController selects the gateway pods on which Istio serves them.
	IngressController IngressController
	// Bypasses are the routes of Gateway API that route to the Service.
	Bypasses []Bypass
	// MeshDomain is the cluster domain in Istio's configuration; empty if unknown.
	MeshDomain string
	// MultiCluster is true if the mesh shows signs of spanning several clusters.
	MultiCluster bool
	// RootNamespace is the mesh's root namespace, istio-system.
	RootNamespace string
	// Samples are the metrics for the evaluation of a canary that is due, as CanaryQueryOf requests them; nil if they were not queried.
	Samples *CanarySamples
	// BetweenWrites is true if a controller may still be writing the objects: an outdated object then does not count as an edit.
	BetweenWrites bool
	// Offline is true without a cluster. Missing gateways are then not reported.
	Offline  bool
	Settings api.RoutingSettings

	dryRun bool // nothing is recorded, so messages cannot contain times that begin now
}

// Mesh is the part of Istio's configuration that plans depend on. The zero value means unknown: Istio's defaults apply.
type Mesh struct {
	Domain  string // of the cluster; empty if unknown
	Ingress IngressController
}

// WorkloadRef names a top-level workload. A track is known by it, never by a UID.
type WorkloadRef struct {
	Kind string // Deployment, StatefulSet, DaemonSet, ReplicaSet, Pod, or an unknown owner's kind
	Name string
}

// PodGroup counts the pods of one workload that carry one version.
type PodGroup struct {
	Workload WorkloadRef
	Version  string // value of the version label; empty if the pods have none
	Pods     int    // including pods that terminate
	Ready    int    // ready and not terminating
	// Terminating counts the pods with a deletion timestamp. Pods on a lost node have one until the node returns.
	Terminating int
	// Created is the creation time of the oldest of the pods.
	Created time.Time
	// ReadySince is when the longest-ready pod became ready, truncated to seconds like the API; zero if no pod is ready.
	ReadySince time.Time
	// Templates are the hashes of the pod templates of the pods that are not terminating, as Kubernetes labels them, sorted and
	// separated by commas; empty if they have none.
	Templates string
	// Restarts has the pods that are not terminating and of which a container has restarted, with the most restarts of any of their
	// containers: "web-5d4f=3,web-7c9b=1", sorted. Empty if there is none.
	Restarts string
}

// Workload is what routing needs to know of a Deployment, StatefulSet or DaemonSet.
type Workload struct {
	WorkloadRef
	Created  time.Time
	Replicas int32             // wanted; for a DaemonSet the desired number
	Selector map[string]string // spec.selector.matchLabels
	Labels   map[string]string // of the pod template
}

// Objects are Istio's objects of one Service, each list sorted by name.
type Objects struct {
	DestinationRules []*networkingv1.DestinationRule
	VirtualServices  []*networkingv1.VirtualService
	Gateways         []*networkingv1.Gateway
}

// Result is what Plan returns: the desired objects, when to plan again, and what to report.
type Result struct {
	Objects Objects
	// Release are the objects that the user replaced and from which our marks are removed now: see Changes.
	Release []Object
	// Next is when time alone changes the result; zero if it does not.
	Next time.Time
	// DependsOn is what the result depends on of the pods and workloads.
	DependsOn Dependencies
	Problems  []api.RouteProblem
	// Pending are the settings that do not apply yet, sorted by key.
	Pending []Pending
	// Superseded are the settings that the success of a canary has superseded, sorted by key. This is expected, and not a Problem.
	Superseded []Superseded
	// Transitions are what the plan decides about a canary. They are to be reported as Events once all VirtualServices of the plan
	// are written. Until then each plan has them.
	Transitions []CanaryTransition
	// Latest is the last transition of a canary that all VirtualServices have; nil if there was none, or if Transitions has another one. It
	// is to be reported if it was not: a controller can stop after the last write.
	Latest *CanaryTransition
	// Canary is the canary that the annotations request, or that progresses; nil if there is none.
	Canary *CanaryStatus
	// Unwritten are the changes that routing=observe prevents, in the order of Diff, except changes of metadata alone.
	Unwritten []Change
}

// Pending is a setting of the Service that does not apply yet, or not completely.
type Pending struct {
	Key     string   // of the annotation
	Value   string   // as it is written; empty where it was removed
	Missing []string // what it waits for: "v2 (0 of 2 pods ready)", `unknown version "V1"; did you mean "v1"?`
}

// Superseded is a setting of the Service that has no effect, because a canary has succeeded since.
type Superseded struct {
	Key    string // of the annotation
	Value  string // as it is written
	By     string // the version whose canary succeeded
	Advice string // the command that updates the annotations, in a sentence; empty if no name of the default version is known
}
