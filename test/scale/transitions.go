// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"encoding/json"
	"fmt"
	"strings"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"outrigger.dev/outrigger/api"
)

// most is for how many Services the transitions are gone through: their writes are counted, not timed.
const most = 50

// rollingNamespace holds Services whose workloads change their version in place.
const rollingNamespace = "scale-rolling"

// bound is how many writes of a kind one Service may cost: exactly so many, or at most.
type bound struct {
	kind   string
	count  int
	atMost bool
}

const (
	rules    = "DestinationRule"
	routes   = "VirtualService"
	gateways = "Gateway"
)

// transitions goes through what happens to Services in their lives, one after the other, and counts the writes.
func (w *world) transitions(ctx context.Context) error {
	count := min(w.services, most)
	fmt.Printf("writes per Service, of %d:\n", count)
	all := func(do func(ctx context.Context, i int) error) func(context.Context) error {
		return func(ctx context.Context) error { return each(ctx, count, creators, do) }
	}
	added := w.versions // the number of the version that comes and goes
	for _, step := range []struct {
		what   string
		do     func(context.Context) error
		bounds []bound
	}{
		{"a new version", all(func(ctx context.Context, i int) error { return w.createVersion(ctx, i, added) }), []bound{{rules, 1, false}}},
		{"weights changed", all(func(ctx context.Context, i int) error {
			return w.annotate(ctx, namespaceOf(i), nameOf(i), map[string]string{api.AnnotationWeights: "v1=50,v2=50"})
		}), []bound{{rules, 1, false}, {routes, 1, false}}},
		{"a version removed", all(func(ctx context.Context, i int) error { return w.removeVersion(ctx, i, added) }), []bound{{rules, 2, true}}},
		{"a lone workload appears", w.createWorkloads(count, "main", "v1", 2), []bound{{rules, 1, false}, {routes, 1, false}}},
		{"it changes its version in place", all(func(ctx context.Context, i int) error { return w.rollOut(ctx, i, "v1", "v2") }), []bound{{rules, 2, false}, {routes, 0, false}}},
		{"a second workload appears", w.createWorkloads(count, "canary", "v9", 1), []bound{{rules, 1, false}, {routes, 1, false}}},
		{"a version changed beside it", all(func(ctx context.Context, i int) error { return w.rollOut(ctx, i, "v2", "v3") }), []bound{{rules, 2, false}, {routes, 5, true}}},
		{"exposed for every host, each at a port of its own", all(func(ctx context.Context, i int) error {
			return w.annotate(ctx, rollingNamespace, rollingName(i), map[string]string{api.AnnotationExpose: "true", api.AnnotationGatewayPort: fmt.Sprint(20000 + i)})
		}), []bound{{gateways, 1, false}, {routes, 3, true}, {rules, 1, true}}},
		{"weights changed there", all(func(ctx context.Context, i int) error {
			return w.annotate(ctx, rollingNamespace, rollingName(i), map[string]string{api.AnnotationWeights: "v3=90,v9=10"})
		}), []bound{{rules, 1, true}, {routes, 2, false}}},
	} {
		if err := w.controller.quiet(ctx); err != nil {
			return err
		}
		before, err := w.controller.look(ctx, false)
		if err != nil {
			return err
		}
		if err := step.do(ctx); err != nil {
			return fmt.Errorf("%s: %w", step.what, err)
		}
		if err := w.controller.quiet(ctx); err != nil {
			return err
		}
		after, err := w.controller.look(ctx, false)
		if err != nil {
			return err
		}
		if err := compareWrites(step.what, count, before, after, step.bounds); err != nil {
			return err
		}
	}
	return w.removeRolling(ctx, count)
}

// compareWrites prints what was written, and fails where it is not what it may be.
func compareWrites(what string, services int, before, after reading, bounds []bound) error {
	var told []string
	wanted := map[string]bound{}
	for _, b := range bounds {
		wanted[b.kind] = b
	}
	for _, kind := range []string{rules, routes, gateways} {
		got, b := after.Kinds[kind]-before.Kinds[kind], wanted[kind]
		if got > b.count*services || !b.atMost && got != b.count*services {
			return fmt.Errorf("%s: %d writes of %s for %d Services, not %d each", what, got, kind, services, b.count)
		}
		if got > 0 {
			told = append(told, fmt.Sprintf("%.2f %s", float64(got)/float64(services), kind))
		}
	}
	if len(told) == 0 {
		told = []string{"none"}
	}
	fmt.Printf("  %s: %s\n", what, strings.Join(told, ", "))
	return nil
}

func rollingName(i int) string { return fmt.Sprintf("rolling-%05d", i) }

// annotate writes annotations in one request.
func (w *world) annotate(ctx context.Context, namespace, service string, words map[string]string) error {
	patch, err := json.Marshal(map[string]any{"metadata": map[string]any{"annotations": words}})
	if err != nil {
		return err
	}
	_, err = w.kube.CoreV1().Services(namespace).Patch(ctx, service, types.MergePatchType, patch, metav1.PatchOptions{})
	return err
}

// removeVersion deletes a version's Deployment and pods.
func (w *world) removeVersion(ctx context.Context, service, version int) error {
	namespace, deployment := namespaceOf(service), deploymentOf(service, version)
	if err := w.kube.AppsV1().Deployments(namespace).Delete(ctx, deployment, metav1.DeleteOptions{}); err != nil {
		return err
	}
	for p := range w.pods {
		if err := w.deletePod(ctx, namespace, fmt.Sprintf("%s-abcdef-%d", deployment, p)); err != nil {
			return err
		}
	}
	return nil
}

func (w *world) deletePod(ctx context.Context, namespace, name string) error {
	now := int64(0)
	return w.kube.CoreV1().Pods(namespace).Delete(ctx, name, metav1.DeleteOptions{GracePeriodSeconds: &now})
}

// createWorkloads creates the Deployments of a track, and then their pods. In a cluster, a pod becomes ready seconds after its Deployment was
// created. Here, it would take milliseconds, and the controller might see the pod first, which costs more writes.
func (w *world) createWorkloads(count int, track, version string, pods int) func(context.Context) error {
	return func(ctx context.Context) error {
		if err := each(ctx, count, creators, func(ctx context.Context, i int) error { return w.createTrack(ctx, i, track, version) }); err != nil {
			return err
		}
		if err := w.controller.quiet(ctx); err != nil {
			return err
		}
		return each(ctx, count*pods, creators, func(ctx context.Context, p int) error {
			return w.createReadyPod(ctx, rollingNamespace, trackName(p/pods, track), version, p%pods, trackLabels(p/pods, track, version))
		})
	}
}

func trackLabels(i int, track, version string) map[string]string {
	return map[string]string{"app": rollingName(i), "track": track, "version": version}
}

func trackName(i int, track string) string { return rollingName(i) + "-" + track }

// createTrack creates a Deployment whose selector does not contain the version, for the first track together with its Service.
func (w *world) createTrack(ctx context.Context, i int, track, version string) error {
	if track == "main" {
		if err := w.createService(ctx, rollingNamespace, rollingName(i)); err != nil {
			return err
		}
	}
	deployment := &appsv1.Deployment{ObjectMeta: metav1.ObjectMeta{Name: trackName(i, track)}, Spec: appsv1.DeploymentSpec{
		Selector: &metav1.LabelSelector{MatchLabels: map[string]string{"app": rollingName(i), "track": track}},
		Template: corev1.PodTemplateSpec{ObjectMeta: metav1.ObjectMeta{Labels: trackLabels(i, track, version)}, Spec: podSpec()},
	}}
	_, err := w.kube.AppsV1().Deployments(rollingNamespace).Create(ctx, deployment, metav1.CreateOptions{})
	return err
}

// rollOut changes the version of the main workload of two pods, one pod at a time.
func (w *world) rollOut(ctx context.Context, i int, from, to string) error {
	name := trackName(i, "main")
	patch := fmt.Sprintf(`{"spec":{"template":{"metadata":{"labels":{"version":%q}}}}}`, to)
	if _, err := w.kube.AppsV1().Deployments(rollingNamespace).Patch(ctx, name, types.MergePatchType, []byte(patch), metav1.PatchOptions{}); err != nil {
		return err
	}
	for p := range 2 {
		if err := w.createReadyPod(ctx, rollingNamespace, name, to, p, trackLabels(i, "main", to)); err != nil {
			return err
		}
		if err := w.deletePod(ctx, rollingNamespace, podOf(name, from, p)); err != nil {
			return err
		}
	}
	return nil
}

// removeRolling takes away what the transitions have made, routes included: nobody collects garbage here.
func (w *world) removeRolling(ctx context.Context, count int) error {
	err := each(ctx, count, creators, func(ctx context.Context, i int) error {
		return w.kube.CoreV1().Services(rollingNamespace).Delete(ctx, rollingName(i), metav1.DeleteOptions{})
	})
	if err != nil {
		return err
	}
	if err := w.controller.quiet(ctx); err != nil {
		return err
	}
	return w.deleteRoutes(ctx, rollingNamespace)
}
