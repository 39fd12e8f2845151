// SPDX-License-Identifier: Apache-2.0

package webhook

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"strings"

	admissionv1 "k8s.io/api/admission/v1"
	"sigs.k8s.io/controller-runtime/pkg/webhook/admission"

	"outrigger.dev/outrigger/api"
)

// TrafficPath is where TrafficAdvice is served.
const TrafficPath = "/validate/traffic"

// WorkloadRemoval is a workload that is deleted or scaled to 0, and so loses all of its pods.
type WorkloadRemoval struct {
	Namespace, Kind, Name string
	Deleted               bool // otherwise it is scaled to 0
}

// LostTraffic is the traffic that the routes of one Service would send to no pod.
type LostTraffic struct {
	Service  string
	Versions []string // the versions that share it
	Now      string   // the current shares, "v1=90 v2=10"
	Others   []string // versions that could receive it; not empty
	To       []string // versions that would receive traffic and have none now
	Matches  []string // the conditions by which alone requests go to Versions; empty if other requests do, too
	Match    string   // the match annotation without the items for Versions
}

// TrafficReader reads the current routes and the pods behind them.
type TrafficReader interface {
	// LostTraffic returns the traffic that would reach no pod after the removal, by Service in the order of their names.
	LostTraffic(ctx context.Context, removal WorkloadRemoval) ([]LostTraffic, error)
}

// TrafficAdvice answers DELETE of Deployments, StatefulSets and DaemonSets, and UPDATE of them or of their scale to 0,
// with a warning if the workload has traffic that no other one will receive.
func TrafficAdvice(traffic TrafficReader) http.Handler {
	return advice(func(ctx context.Context, request admission.Request) ([]string, error) {
		removal, is, err := removalOf(request)
		if err != nil || !is || byCluster(request) {
			return nil, err
		}
		lost, err := traffic.LostTraffic(ctx, removal)
		if err != nil {
			return nil, fmt.Errorf("reading the routes of namespace %s: %w", removal.Namespace, err)
		}
		return TrafficWarnings(removal, lost), nil
	})
}

// TrafficWarnings returns for each Service the traffic that would be lost, and the command that prevents it.
func TrafficWarnings(removal WorkloadRemoval, lost []LostTraffic) []string {
	what := "is scaled to 0"
	if removal.Deleted {
		what = "is deleted"
	}
	var out []string
	for _, l := range lost {
		if len(l.To) > 0 {
			out = append(out, fmt.Sprintf("%s %s is deleted and serves traffic of Service %s (%s). While it is gone, %s receives that traffic. To keep the route instead: kubectl annotate service -n %s %s %s=hold",
				removal.Kind, removal.Name, l.Service, l.Now, strings.Join(l.To, ", "), removal.Namespace, l.Service, api.AnnotationDefaultDeleted))
			continue
		}
		if len(l.Matches) > 0 {
			fix := api.AnnotationMatch + "-"
			if l.Match != "" {
				fix = api.ShellWord(api.AnnotationMatch+"="+l.Match) + " --overwrite"
			}
			out = append(out, fmt.Sprintf("%s %s %s, and receives the requests of Service %s with %s; they will fail. To route them as all others: kubectl annotate service -n %s %s %s",
				removal.Kind, removal.Name, what, l.Service, strings.Join(l.Matches, " or "), removal.Namespace, l.Service, fix))
			continue
		}
		out = append(out, fmt.Sprintf("%s %s %s, and holds traffic of Service %s (%s, to %s); nothing else will receive it: outrigger promote %s %s -n %s",
			removal.Kind, removal.Name, what, l.Service, l.Now, strings.Join(l.Versions, ", "), l.Service, api.ShellWord(l.Others[len(l.Others)-1]), removal.Namespace))
	}
	return out
}

// scaled are the resources whose UPDATE may be a scale to 0, by their kind.
var scaled = map[string]string{"deployments": "Deployment", "statefulsets": "StatefulSet"}

// replicas is the part of Deployments, StatefulSets, and Scales that is read.
type replicas struct {
	Spec struct {
		Replicas *int32 `json:"replicas"`
	} `json:"spec"`
}

// removalOf returns the workload that a request deletes or scales to 0; false if it does neither.
func removalOf(request admission.Request) (WorkloadRemoval, bool, error) {
	removal := WorkloadRemoval{Namespace: request.Namespace, Name: request.Name, Kind: scaled[request.Resource.Resource]}
	if request.Resource.Resource == "daemonsets" {
		removal.Kind = "DaemonSet"
	}
	if removal.Kind == "" || request.Resource.Group != "apps" {
		return WorkloadRemoval{}, false, nil
	}
	switch request.Operation {
	case admissionv1.Delete:
		removal.Deleted = true
		return removal, request.SubResource == "", nil
	case admissionv1.Update:
		if !slices.Contains([]string{"", "scale"}, request.SubResource) || removal.Kind == "DaemonSet" {
			return WorkloadRemoval{}, false, nil
		}
		before, err := replicasIn(request, request.OldObject.Raw)
		if err != nil {
			return WorkloadRemoval{}, false, err
		}
		after, err := replicasIn(request, request.Object.Raw)
		return removal, before > 0 && after == 0, err
	}
	return WorkloadRemoval{}, false, nil
}

// replicasIn returns the desired number of pods. Without the field, a workload has one; a Scale omits 0.
func replicasIn(request admission.Request, raw []byte) (int32, error) {
	if len(raw) == 0 {
		return 0, errNoObject(request)
	}
	var object replicas
	if err := json.Unmarshal(raw, &object); err != nil {
		return 0, fmt.Errorf("decoding %s %s/%s of the request: %w", request.Kind.Kind, request.Namespace, request.Name, err)
	}
	switch {
	case object.Spec.Replicas != nil:
		return *object.Spec.Replicas, nil
	case request.SubResource == "scale":
		return 0, nil
	}
	return 1, nil
}
