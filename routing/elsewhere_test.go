// SPDX-License-Identifier: Apache-2.0

package routing

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	networkingapi "istio.io/api/networking/v1alpha3"
	networkingv1 "istio.io/client-go/pkg/apis/networking/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	meta "istio.io/api/meta/v1alpha1"

	"outrigger.dev/outrigger/api"
)

// two makes a cluster of two versions in a mesh of several clusters.
func two(t *testing.T, setting api.MultiClusterSetting, several bool) *cluster {
	c := newCluster(t)
	c.several, c.settings.MultiCluster = several, setting
	c.fixed("app-v1", "v1", 2)
	c.fixed("app-v2", "v2", 2)
	c.ready()
	c.advance(10 * time.Minute)
	return c
}

func TestNoDefaultRouteInAMeshOfSeveralClusters(t *testing.T) {
	for _, test := range []struct {
		setting api.MultiClusterSetting
		several bool
		want    string
	}{
		{api.MultiClusterAuto, false, "v1"}, {api.MultiClusterAuto, true, "none"},
		{api.MultiClusterEnabled, false, "none"}, {api.MultiClusterDisabled, true, "v1"},
	} {
		c := two(t, test.setting, test.several)
		c.has("v1 v2", test.want)
		if test.want == "none" {
			c.tells(api.RouteEndpointsElsewhere)
		} else {
			c.tells()
		}
	}
}

func TestAWordIsEnoughForARouteInAMeshOfSeveralClusters(t *testing.T) {
	for word, want := range map[string]string{
		"default-version=v2": "v2", "weights=v1=1,v2=1": "v1=50 v2=50", "default-version=@lowest": "v1", "default-version=@all": "-",
	} {
		c := two(t, api.MultiClusterAuto, true)
		c.annotate(word)
		c.settle()
		c.has("v1 v2", want)
		c.tells()
		key := word[:len("default-version")]
		if word[0] == 'w' {
			key = "weights"
		}
		c.annotate(key + "-")
		c.advance(time.Hour)
		if c.routes("app") == "none" {
			t.Errorf("%s taken away takes the route away", word)
		}
	}
	for _, word := range []string{"default-version=v9", "weights=v9=1", "match=v2=header:a:b"} {
		c := two(t, api.MultiClusterAuto, true)
		c.annotate(word)
		c.settle()
		c.has("v1 v2", "none")
	}
}

func TestARouteThatStandsStaysWhenTheMeshGrows(t *testing.T) {
	c := twoVersions(t)
	c.several = true
	c.advance(time.Hour)
	c.has("v1 v2", "v1")
	c.tells()
	c.wrote()
	c.createService() // as kubectl replace --force does
	c.advance(time.Minute)
	c.has("v1 v2", "v1")
}

func TestExposureInAMeshOfSeveralClusters(t *testing.T) {
	c := two(t, api.MultiClusterAuto, true)
	c.annotate("expose=true")
	c.settle()
	c.has("v1 v2", "none")
	if got := c.routes("app-gateway"); got != "-" {
		t.Errorf("the gateway's route: %s", got)
	}
	c.annotate("default-version=v1")
	c.settle()
	c.has("v1 v2", "v1")
	if got := c.routes("app-gateway"); got != "v1" {
		t.Errorf("the gateway's route: %s", got)
	}
}

func TestWorkloadEntriesCountAsPods(t *testing.T) {
	entry := func(name string, labels, meta map[string]string) *networkingv1.WorkloadEntry {
		return &networkingv1.WorkloadEntry{
			ObjectMeta: metav1.ObjectMeta{Namespace: "demo", Name: name, Labels: meta},
			Spec:       networkingapi.WorkloadEntry{Labels: labels},
		}
	}
	sick := entry("sick", map[string]string{"app": "app", "version": "v2"}, nil)
	sick.Status.Conditions = []*meta.IstioCondition{{Type: "Healthy", Status: "False"}}
	well := entry("well", map[string]string{"app": "app"}, map[string]string{"version": "v3"})
	well.Status.Conditions = []*meta.IstioCondition{{Type: "Healthy", Status: "True"}}
	leaving := entry("leaving", map[string]string{"app": "app"}, nil)
	leaving.DeletionTimestamp = &metav1.Time{}
	got := GroupEntries([]*networkingv1.WorkloadEntry{
		well, sick, leaving, entry("other", map[string]string{"app": "app"}, map[string]string{"app": "other"}), entry("bare", map[string]string{"app": "app", "version": "v1"}, nil),
	}, map[string]string{"app": "app"}, "version")
	ref := func(name string) WorkloadRef { return WorkloadRef{Kind: "WorkloadEntry", Name: name} }
	want := []PodGroup{
		{Workload: ref("bare"), Version: "v1", Pods: 1, Ready: 1}, {Workload: ref("leaving"), Pods: 1, Terminating: 1},
		{Workload: ref("sick"), Version: "v2", Pods: 1}, {Workload: ref("well"), Version: "v3", Pods: 1, Ready: 1},
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
}

// A machine beside the pods is a workload of its own: it waits, takes part by its version, and is gone when it is.
func TestMachinesAreTracks(t *testing.T) {
	c := twoVersions(t)
	ref := WorkloadRef{Kind: "WorkloadEntry", Name: "vm-1"}
	c.pods[ref] = map[string]*PodGroup{"v3": {Workload: ref, Version: "v3", Pods: 1, Ready: 1, Created: c.now}}
	c.advance(time.Minute)
	c.has("v1 v2 v3", "v1")
	c.annotate("weights=v1=1,v3=1")
	c.settle()
	c.has("v1 v2 v3", "v1=50 v3=50")
	c.annotate("default-version=v3", "weights-")
	c.settle()
	c.has("v1 v2 v3", "v3")
	c.remove("app-v2")
	c.gone("app-v2")
	delete(c.pods, ref) // the machine is taken away: that is a word, as with a Deployment
	c.settle()
	c.has("v1 v2 v3", "v1")
	c.tells(api.RouteDefaultVersionGone)
}
