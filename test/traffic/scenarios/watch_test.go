// SPDX-License-Identifier: Apache-2.0

package scenarios

import (
	"context"
	"fmt"
	"strings"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/watch"
)

// watched are the kinds whose writes are marked.
var watched = []string{"destinationrules", "virtualservices", "gateways"}

// watch marks every write to a route in the namespace until the test ends.
func (s *Scene) watch() {
	ctx, stop := context.WithCancel(root)
	s.Cleanup(stop)
	for _, resource := range watched {
		objects := cluster.Objects.Resource(schema.GroupVersionResource{Group: "networking.istio.io", Version: "v1", Resource: resource}).Namespace(s.Namespace)
		list, err := objects.List(ctx, metav1.ListOptions{})
		if err != nil {
			s.Fatal(err)
		}
		version := list.GetResourceVersion()
		go func() {
			for ctx.Err() == nil {
				events, err := objects.Watch(ctx, metav1.ListOptions{ResourceVersion: version})
				if err != nil {
					return // the scenario goes on without these marks
				}
				for event := range events.ResultChan() {
					if object, is := event.Object.(*unstructured.Unstructured); is {
						version = object.GetResourceVersion()
						s.mark(object.GetKind(), summary(event.Type, object))
					}
				}
			}
		}()
	}
}

// summary says what was written: "web: v1=90 v2=10" for a VirtualService, and the names of the subsets for a DestinationRule.
func summary(event watch.EventType, object *unstructured.Unstructured) string {
	text := object.GetName()
	switch event {
	case watch.Added:
		text += " created"
	case watch.Deleted:
		return text + " deleted"
	}
	var parts []string
	subsets, _, _ := unstructured.NestedSlice(object.Object, "spec", "subsets")
	for _, subset := range subsets {
		if of, is := subset.(map[string]any); is {
			parts = append(parts, fmt.Sprint(of["name"]))
		}
	}
	rules, _, _ := unstructured.NestedSlice(object.Object, "spec", "http")
	for _, rule := range rules {
		of, _ := rule.(map[string]any)
		destinations, _, _ := unstructured.NestedSlice(of, "route")
		for _, destination := range destinations {
			to, _ := destination.(map[string]any)
			subset, _, _ := unstructured.NestedString(to, "destination", "subset")
			if subset == "" {
				subset = "all"
			}
			if weight, weighted := to["weight"]; weighted {
				subset += fmt.Sprintf("=%v", weight)
			}
			parts = append(parts, subset)
		}
	}
	if len(parts) > 0 {
		text += ": " + strings.Join(parts, " ")
	}
	return text
}
