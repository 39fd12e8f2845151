// SPDX-License-Identifier: Apache-2.0

package controller

import (
	"context"
	"fmt"
	"maps"
	"testing"

	networkingapi "istio.io/api/networking/v1alpha3"
	networkingv1 "istio.io/client-go/pkg/apis/networking/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"outrigger.dev/outrigger/api"
	"outrigger.dev/outrigger/routing"
)

// theirs is an object of somebody else's under a name that we are about to write.
func theirs(like client.Object) client.Object {
	meta := metav1.ObjectMeta{Namespace: like.GetNamespace(), Name: like.GetName(), UID: types.UID("theirs-" + like.GetName())}
	switch like.GetObjectKind().GroupVersionKind().Kind {
	case "DestinationRule":
		return &networkingv1.DestinationRule{ObjectMeta: meta, Spec: networkingapi.DestinationRule{Host: "elsewhere.example.com"}}
	case "Gateway":
		return &networkingv1.Gateway{ObjectMeta: meta, Spec: networkingapi.Gateway{
			Selector: map[string]string{"istio": "theirs"},
			Servers:  []*networkingapi.Server{{Hosts: []string{"theirs.example.com"}, Port: &networkingapi.Port{Number: 8443, Name: "http", Protocol: "HTTP"}}},
		}}
	}
	return &networkingv1.VirtualService{ObjectMeta: meta, Spec: networkingapi.VirtualService{
		Hosts: []string{"elsewhere.example.com"},
		Http:  []*networkingapi.HTTPRoute{{Route: []*networkingapi.HTTPRouteDestination{{Destination: &networkingapi.Destination{Host: "elsewhere.example.com"}}}}},
	}}
}

func emptyLike(object client.Object) client.Object {
	out := theirs(object)
	switch out.(type) {
	case *networkingv1.DestinationRule:
		return &networkingv1.DestinationRule{}
	case *networkingv1.Gateway:
		return &networkingv1.Gateway{}
	}
	return &networkingv1.VirtualService{}
}

// Between look and write somebody puts an object of theirs in the place that is written to. Whatever the write is, theirs
// stays as they made it, to the last annotation.
func TestNothingForeignIsWrittenInARace(t *testing.T) {
	// takes puts theirs where ours is or would be.
	takes := func(f *fleet, object client.Object) error {
		standing := emptyLike(object)
		if err := f.cluster.Get(context.Background(), client.ObjectKeyFromObject(object), standing); err == nil {
			if err := f.cluster.Delete(context.Background(), standing); err != nil {
				return err
			}
		}
		made := theirs(object)
		err := f.cluster.Create(context.Background(), made)
		for i := 0; err == nil && i < 50; i++ { // an API server never gives a version twice, the fake one begins anew
			made.SetLabels(map[string]string{"round": fmt.Sprint(i)})
			err = f.cluster.Update(context.Background(), made)
		}
		return err
	}
	// adopts makes ours theirs by taking our label off.
	adopts := func(f *fleet, object client.Object) error {
		standing := emptyLike(object)
		if err := f.cluster.Get(context.Background(), client.ObjectKeyFromObject(object), standing); err != nil {
			return takes(f, object)
		}
		labels := maps.Clone(standing.GetLabels())
		delete(labels, api.LabelManagedBy)
		standing.SetLabels(labels)
		standing.SetOwnerReferences(nil)
		return f.cluster.Update(context.Background(), standing)
	}
	struck := map[string]int{}
	for what, stroke := range map[string]func(*fleet, client.Object) error{"put in its place": takes, "made theirs": adopts} {
		for step := range journey {
			for nth := 1; nth <= 4; nth++ {
				t.Run(fmt.Sprintf("%s, write %d of %q", what, nth, journey[step].what), func(t *testing.T) {
					f := newFleet(t)
					f.services = f.services[:1]
					f.deploy("v1", "v1", true, "a", 2)
					if step > 0 {
						f.settle()
					}
					for i := range step {
						journey[i].do(f)
						f.settle()
					}
					count := 0
					var key client.ObjectKey
					var kept client.Object
					f.before = func(verb string, o client.Object) error {
						if count++; count != nth {
							return nil
						}
						struck[verb]++
						if err := stroke(f, o); err != nil {
							return err
						}
						key, kept = client.ObjectKeyFromObject(o), emptyLike(o)
						return f.cluster.Get(context.Background(), key, kept)
					}
					journey[step].do(f)
					f.settle()
					if kept == nil {
						return // there are fewer writes
					}
					after := emptyLike(withKind(kept))
					f.must(f.cluster.Get(context.Background(), key, after))
					if after.GetResourceVersion() != kept.GetResourceVersion() || after.GetUID() != kept.GetUID() {
						t.Errorf("%T %s was written: %v, was %v", after, key, after, kept)
					}
					if _, ours := routing.ServiceOf(after.(routing.Object)); ours {
						t.Errorf("%T %s is ours now", after, key)
					}
				})
			}
		}
	}
	for _, verb := range []string{"create", "patch", "delete"} {
		if struck[verb] < 3 {
			t.Errorf("only %d times was a %s raced with", struck[verb], verb)
		}
	}
}

func withKind(object client.Object) client.Object {
	kinds := map[string]string{"*v1.DestinationRule": "DestinationRule", "*v1.Gateway": "Gateway", "*v1.VirtualService": "VirtualService"}
	out := object.DeepCopyObject().(client.Object)
	out.GetObjectKind().SetGroupVersionKind(networkingv1.SchemeGroupVersion.WithKind(kinds[fmt.Sprintf("%T", object)]))
	return out
}
