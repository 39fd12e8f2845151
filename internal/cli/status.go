// SPDX-License-Identifier: Apache-2.0

package cli

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"
	networkingv1 "istio.io/client-go/pkg/apis/networking/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"outrigger.dev/outrigger/api"
	"outrigger.dev/outrigger/routing"
)

func statusCommand() *cobra.Command {
	var from clusterFlags
	var how statusFlags
	command := &cobra.Command{
		Use:   "status [SERVICE]",
		Short: "Show versions, weights, gateways and problems as they are",
		Long: `Shows for each Service its versions, how many of their pods are ready, and how the current routes share requests between
them; the URLs at which gateways serve it; pods without a sidecar because they are older than the label of the namespace; and
problems, each with its reason.

The command reads the cluster in the same way as the controller, and stores nothing.`,
		Example: `  # The namespace of the kubeconfig's context
  outrigger status

  # One Service, with workloads and subsets
  outrigger status springbootapp -n demo -o wide

  # Every namespace that is labeled or has routes
  outrigger status -A

  # The weights of one Service, and how they change
  outrigger status springbootapp -o jsonpath='{.namespaces[0].services[0].versions[*].weight}'
  outrigger status springbootapp --watch`,
		RunE: func(command *cobra.Command, args []string) error { return how.run(command, &from, args) },
	}
	from.register(command, true)
	how.register(command)
	command.ValidArgsFunction = from.complete(firstOf(serviceNames))
	return command
}

// status reads the cluster and reports the status of one Service, of the Services of a namespace, or of all.
func (l *live) status(ctx context.Context, all bool, service ...string) (statusReport, error) {
	s := l.snapshot(l.namespace, all)
	var namespaces corev1.NamespaceList
	if all {
		if err := s.List(ctx, &namespaces); err != nil {
			return statusReport{}, err
		}
	}
	if !all || s.gaps.elsewhere("Namespace") {
		one := corev1.Namespace{}
		if err := s.Get(ctx, client.ObjectKey{Name: l.namespace}, &one); apierrors.IsNotFound(err) {
			return statusReport{}, noNamespace(l.namespace)
		} else if err != nil {
			return statusReport{}, fmt.Errorf("read Namespace %s: %w", l.namespace, err)
		}
		namespaces.Items = []corev1.Namespace{one}
	}
	report := statusReport{Namespaces: []namespaceStatus{}}
	for i := range namespaces.Items {
		status, err := l.namespaceStatus(ctx, s, &namespaces.Items[i], service...)
		if all {
			err = withAllNamespaces(err, s.gaps)
		}
		if err != nil {
			return statusReport{}, err
		}
		if !all || status.concerned() && (!l.selects() || len(status.Services) > 0) {
			report.Namespaces = append(report.Namespaces, status)
		}
	}
	var err error
	report.Certificates, err = l.certificates(ctx)
	report.Notes = s.notes()
	return report, err
}

// concerned reports whether a namespace has anything to do with Outrigger.
func (n namespaceStatus) concerned() bool {
	return n.Injection != "" || n.Routing != "" || slices.ContainsFunc(n.Services, func(s serviceStatus) bool { return s.State != stateOff })
}

func (l *live) namespaceStatus(ctx context.Context, s *snapshot, namespace *corev1.Namespace, only ...string) (namespaceStatus, error) {
	names, err := servicesOf(ctx, s, namespace.Name, only...)
	if err != nil {
		return namespaceStatus{}, err
	}
	if names, err = l.withLabels(ctx, s, namespace.Name, names); err != nil {
		return namespaceStatus{}, err
	}
	out := namespaceStatus{Name: namespace.Name, Injection: injectionOf(namespace), Routing: namespace.Labels[api.LabelRouting], Services: []serviceStatus{}}
	looker := l.looker(s)
	for _, name := range names {
		observed, problems, err := looker.Look(ctx, client.ObjectKey{Namespace: namespace.Name, Name: name})
		if err != nil {
			return namespaceStatus{}, err
		}
		if observed == nil {
			continue // it goes
		}
		surroundings, err := l.surroundings(ctx, s, observed)
		if err != nil {
			return namespaceStatus{}, err
		}
		status, ofNamespace := statusOf(*observed, problems, surroundings, l.now())
		out.Services = append(out.Services, status)
		out.Problems = append(out.Problems, ofNamespace...)
	}
	out.Problems = sortedProblems(mergeAffected(out.Problems, names))
	var pods corev1.PodList
	if err := s.List(ctx, &pods, client.InNamespace(namespace.Name)); err != nil {
		return namespaceStatus{}, err
	}
	if len(only) == 0 && !l.selects() {
		out.WithoutSidecar = withoutSidecar(namespace, pods.Items)
	}
	return out, nil
}

// servicesOf returns the names of the Services of a namespace, sorted, or those that are asked for, which must be there. Without
// the permission to list them there is nothing to report.
func servicesOf(ctx context.Context, s *snapshot, namespace string, only ...string) ([]string, error) {
	var list corev1.ServiceList
	if err := s.List(ctx, &list, client.InNamespace(namespace)); err != nil {
		return nil, err
	}
	if s.gaps.in(namespace, "Service") {
		return nil, mayNotList("Service", namespace, nil)
	}
	if len(list.Items) == 0 {
		if err := s.Get(ctx, client.ObjectKey{Name: namespace}, &corev1.Namespace{}); apierrors.IsNotFound(err) {
			return nil, noNamespace(namespace)
		}
	}
	var names []string
	for i := range list.Items {
		names = append(names, list.Items[i].Name)
	}
	slices.Sort(names)
	if len(only) == 0 {
		return names, nil
	}
	for _, name := range only {
		if !slices.Contains(names, name) {
			return nil, noService(namespace, name, names)
		}
	}
	return only, nil
}

func noService(namespace, name string, there []string) error {
	if len(there) == 0 {
		return fmt.Errorf("namespace %s has no Service %s, nor any other", namespace, name)
	}
	return fmt.Errorf("namespace %s has no Service %s; it has %s", namespace, name, strings.Join(there, ", "))
}

// statusOf says how one Service stands, and what is wrong with its Namespace.
func statusOf(observed routing.Observed, problems []api.RouteProblem, around surroundings, now time.Time) (serviceStatus, []problemStatus) {
	reading, paths := routing.ReadInEffect(observed, now)
	plan := routing.Plan(observed, now)
	out := serviceStatus{
		Name: observed.Service.Name, State: stateOf(observed, reading, paths), Default: reading.Default,
		Versions: versionsOf(observed, reading), Gateways: gatewaysOf(observed, paths[1:], around), Routes: pathsOf(paths),
	}
	if out.State == stateSkipped {
		out.Skipped = skippedBecause(observed)
	}
	if hidden := around.gaps.hideRoutes(observed.Service.Namespace); hidden || around.gaps.hideIntent(observed) {
		out.hide(hidden)
	} else {
		out.Due, out.Unwritten = changeNames(around.gaps.knownChanges(observed, plan)), changeNames(plan.Unwritten)
		for _, pending := range plan.Pending {
			out.Pending = append(out.Pending, pendingStatus{pending.Key, pending.Value, pending.Missing})
		}
	}
	out.History = historyOf(observed, now)
	var ofNamespace []problemStatus
	for _, p := range append(slices.Clone(problems), around.gaps.visible(observed, plan.Problems)...) {
		told := problemStatus{p.Object.String(), p.Field, p.Value, string(p.Reason), p.Message, p.Advice}
		if p.Reason == api.RouteStillExposed && out.State == stateRouted {
			out.State = stateStillExposed
		}
		if p.Object.Kind == "Namespace" {
			ofNamespace = append(ofNamespace, told)
			continue
		}
		out.Problems = append(out.Problems, told)
	}
	out.Problems = sortedProblems(out.Problems)
	return out, ofNamespace
}

// hide removes what is unknown about the routes of a Service.
func (s *serviceStatus) hide(routes bool) {
	s.State, s.Default = stateUnknown, ""
	if !routes {
		return
	}
	s.Gateways, s.Routes = nil, nil
	for i := range s.Versions {
		v := &s.Versions[i]
		v.Weight, v.Match, v.Mirror, v.Subset = nil, nil, 0, ""
	}
}

func changeNames(changes []routing.Change) []string {
	var out []string
	for _, change := range changes {
		out = append(out, strings.ToLower(string(change.Action))+" "+kindOf(change.Object)+" "+change.Object.GetName())
	}
	return out
}

// pathsOf lists what proxies have; nothing where all of it is Outrigger's.
func pathsOf(paths []routing.Path) []pathStatus {
	if !slices.ContainsFunc(paths, routing.Path.IsOther) {
		return nil
	}
	var out []pathStatus
	for _, p := range paths {
		status := pathStatus{At: cmp.Or(p.Gateway, "mesh"), Hosts: p.Hosts, Outrigger: p.Ours, Shares: p.String()}
		if p.Object.Name != "" {
			status.Object = p.Object.String()
		}
		out = append(out, status)
	}
	return out
}

func stateOf(observed routing.Observed, reading routing.Reading, paths []routing.Path) string {
	switch {
	case observed.Intent.Disabled:
		return stateDisabled
	case slices.ContainsFunc(paths, func(p routing.Path) bool { return isDetached(observed, p) }):
		return stateDetached
	case paths[0].IsOther():
		return stateOther
	case reading.Default == stateSplit || reading.Default == stateUndecided:
		return reading.Default
	case len(reading.Rules) > 0:
		return stateRouted
	case !observed.Standing.IsEmpty():
		return stateSubsets
	case !observed.Intent.Wanted && !observed.Intent.Observe:
		return stateOff
	case skippedBecause(observed) != "":
		return stateSkipped
	case observed.Intent.Observe:
		return stateObserved
	}
	return stateWaiting
}

// skippedBecause says why a Service of this kind gets no routes; empty if it may.
func skippedBecause(observed routing.Observed) string {
	why, advice := routing.Unroutable(observed)
	return strings.TrimSpace(why + " " + advice)
}

// isDetached reports whether the route is a VirtualService of Outrigger's that was edited by hand, so that Outrigger no longer
// writes it.
func isDetached(observed routing.Observed, p routing.Path) bool {
	return p.IsOther() && slices.ContainsFunc(observed.Standing.VirtualServices, func(vs *networkingv1.VirtualService) bool {
		return vs.Namespace == p.Object.Namespace && vs.Name == p.Object.Name
	})
}

// versionsOf lists the versions that run or that the route names, in natural order; pods without a version come last.
func versionsOf(observed routing.Observed, reading routing.Reading) []versionStatus {
	byVersion := map[string]*versionStatus{}
	at := func(version string) *versionStatus {
		if byVersion[version] == nil {
			byVersion[version] = &versionStatus{Version: version, Subset: reading.Subsets[version], Match: reading.MatchesOf(version), Mirror: reading.MirrorOf(version)}
		}
		return byVersion[version]
	}
	for _, group := range observed.Pods {
		v := at(group.Version)
		v.Pods, v.Ready = v.Pods+group.Pods, v.Ready+group.Ready
		v.Workloads = append(v.Workloads, group.Workload.String())
	}
	for _, version := range reading.Names() {
		at(version)
	}
	out := []versionStatus{}
	for _, v := range byVersion {
		if weight, named := reading.WeightOf(v.Version); named {
			v.Weight = &weight
		}
		slices.Sort(v.Workloads)
		out = append(out, *v)
	}
	slices.SortFunc(out, func(a, b versionStatus) int {
		if (a.Version == "") != (b.Version == "") {
			return cmp.Compare(b.Version, a.Version)
		}
		return routing.CompareVersions(a.Version, b.Version)
	})
	return out
}

// injectionOf puts the labels that ask for sidecars into a word.
func injectionOf(namespace *corev1.Namespace) string {
	if word := namespace.Labels[api.LabelInjection]; word != "" {
		return word
	}
	if revision := namespace.Labels[api.LabelRevision]; revision != "" {
		return "revision " + revision
	}
	return ""
}

// withoutSidecar finds the pods that the namespace's label would give a sidecar if they were created now: they are older
// than the label, or were created while no injector answered.
func withoutSidecar(namespace *corev1.Namespace, pods []corev1.Pod) []restartStatus {
	if word := injectionOf(namespace); word != "enabled" && !strings.HasPrefix(word, "revision ") {
		return nil
	}
	counts := map[routing.WorkloadRef]int{}
	for i := range pods {
		ref, serves := routing.WorkloadOf(&pods[i])
		if serves && lacksSidecar(&pods[i]) {
			counts[ref]++
		}
	}
	out := []restartStatus{}
	for ref, count := range counts {
		out = append(out, restartStatus{ref.String(), count, restartCommand(ref, namespace.Name)})
	}
	slices.SortFunc(out, func(a, b restartStatus) int { return cmp.Compare(a.Workload, b.Workload) })
	return out
}

func lacksSidecar(pod *corev1.Pod) bool {
	word, labeled := pod.Labels["sidecar.istio.io/inject"]
	if !labeled {
		word = pod.Annotations["sidecar.istio.io/inject"]
	}
	return word != "false" && !pod.Spec.HostNetwork && !ended(pod) && !hasSidecar(pod)
}

// ended says whether a pod has ended or is about to.
func ended(pod *corev1.Pod) bool {
	return pod.DeletionTimestamp != nil || pod.Status.Phase == corev1.PodSucceeded || pod.Status.Phase == corev1.PodFailed
}

// hasSidecar says whether a pod was injected, or brings a proxy of its own.
func hasSidecar(pod *corev1.Pod) bool {
	return pod.Annotations[api.AnnotationStatus] != "" ||
		slices.ContainsFunc(slices.Concat(pod.Spec.InitContainers, pod.Spec.Containers), func(c corev1.Container) bool { return c.Name == "istio-proxy" })
}

func restartCommand(ref routing.WorkloadRef, namespace string) string {
	switch ref.Kind {
	case "Deployment", "StatefulSet", "DaemonSet":
		return fmt.Sprintf("kubectl rollout restart %s/%s -n %s", strings.ToLower(ref.Kind), ref.Name, namespace)
	case "Rollout":
		return fmt.Sprintf("kubectl argo rollouts restart %s -n %s", ref.Name, namespace)
	case "Pod":
		return fmt.Sprintf("kubectl get pod %s -n %s -o yaml | kubectl replace --force -f -", ref.Name, namespace)
	}
	return fmt.Sprintf("(restart %s in namespace %s)", ref, namespace)
}

func kindOf(object routing.Object) string {
	switch object.(type) {
	case *networkingv1.DestinationRule:
		return "DestinationRule"
	case *networkingv1.VirtualService:
		return "VirtualService"
	case *networkingv1.Gateway:
		return "Gateway"
	}
	return "object"
}
