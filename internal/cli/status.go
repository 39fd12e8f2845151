// SPDX-License-Identifier: Apache-2.0

package cli

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"outrigger.dev/outrigger/api"
	"outrigger.dev/outrigger/internal/diagnose"
	"outrigger.dev/outrigger/routing"
)

func statusCommand() *cobra.Command {
	var from clusterFlags
	var flags statusFlags
	command := &cobra.Command{
		Use:   "status [SERVICE]",
		Short: "Show the current versions, weights, gateways, and problems",
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
		RunE: func(command *cobra.Command, args []string) error { return flags.run(command, &from, args) },
	}
	from.register(command, true)
	flags.register(command)
	command.ValidArgsFunction = from.complete(firstOf(serviceNames))
	return command
}

// status reads the cluster and reports the status of one Service, of the Services of a namespace, or of all. In a stream, it recomputes only
// what may have changed since the last reading.
func (l *live) status(ctx context.Context, all bool, service ...string) (diagnose.StatusReport, error) {
	if l.kept == nil {
		return l.statusFrom(ctx, l.snapshot(l.namespace, all), all, service...)
	}
	l.kept.mu.Lock()
	defer l.kept.mu.Unlock()
	defer func() { l.kept.reading = reading{} }() // so that its lists are not kept
	for {
		s := l.snapshot(l.namespace, all)
		s.kept = l.kept
		if err := l.kept.begin(reading{l, s}); err != nil {
			return diagnose.StatusReport{}, err
		}
		report, err := l.statusFrom(ctx, s, all, service...)
		if err != nil {
			return report, err
		}
		if l.kept.end(l.gaps) {
			if lists, is := l.lists.(*watchedLists); is {
				lists.endReading()
			}
			return report, nil
		}
	}
}

func (l *live) statusFrom(ctx context.Context, s *snapshot, all bool, service ...string) (diagnose.StatusReport, error) {
	var namespaces corev1.NamespaceList
	if all {
		if err := s.List(ctx, &namespaces); err != nil {
			return diagnose.StatusReport{}, err
		}
	}
	if !all || s.gaps.HidesClusterWide("Namespace") {
		one := corev1.Namespace{}
		if err := s.Get(ctx, client.ObjectKey{Name: l.namespace}, &one); apierrors.IsNotFound(err) {
			return diagnose.StatusReport{}, noNamespace(l.namespace)
		} else if err != nil {
			return diagnose.StatusReport{}, fmt.Errorf("read Namespace %s: %w", l.namespace, err)
		}
		namespaces.Items = []corev1.Namespace{one}
	}
	report := diagnose.StatusReport{At: l.now(), Frozen: l.frozen(), Namespaces: []diagnose.NamespaceStatus{}}
	isShown := func(n diagnose.NamespaceStatus) bool {
		return !all || n.IsManaged() && (!l.selects() || len(n.Services) > 0)
	}
	for i := range namespaces.Items {
		status, err := l.namespaceStatus(ctx, s, &namespaces.Items[i], func(status diagnose.NamespaceStatus) {
			l.part(func() diagnose.StatusReport {
				out := report
				out.IsPart = true
				if isShown(status) {
					out.Namespaces = append(slices.Clone(report.Namespaces), status)
				}
				return out
			})
		}, service...)
		if all {
			err = withAllNamespaces(err, s.gaps)
		}
		if err != nil {
			return diagnose.StatusReport{}, err
		}
		if isShown(status) {
			report.Namespaces = append(report.Namespaces, status)
		}
	}
	var err error
	report.Certificates, err = l.certificates(ctx)
	report.Notes = s.notes()
	return report, err
}

// namespaceStatus returns the status of a namespace. It calls each with what it has read so far.
func (l *live) namespaceStatus(ctx context.Context, s *snapshot, namespace *corev1.Namespace, each func(diagnose.NamespaceStatus), only ...string) (diagnose.NamespaceStatus, error) {
	names, err := servicesOf(ctx, s, namespace.Name, only...)
	if err != nil {
		return diagnose.NamespaceStatus{}, err
	}
	if names, err = l.withLabels(ctx, s, namespace.Name, names); err != nil {
		return diagnose.NamespaceStatus{}, err
	}
	out := diagnose.NamespaceStatus{Name: namespace.Name, Injection: diagnose.InjectionOf(namespace), Routing: namespace.Labels[api.LabelRouting], Services: []diagnose.ServiceStatus{}}
	for _, name := range names {
		of, err := serviceStatus(ctx, reading{l, s}, client.ObjectKey{Namespace: namespace.Name, Name: name})
		if err != nil {
			return diagnose.NamespaceStatus{}, err
		}
		if of.isGone {
			continue
		}
		out.Services = append(out.Services, of.status)
		out.Problems = append(out.Problems, of.ofNamespace...)
		each(out)
	}
	out.Problems = diagnose.SortedProblems(diagnose.MergeAffected(out.Problems, names))
	if len(only) == 0 && !l.selects() {
		out.WithoutSidecar, err = withoutSidecar(ctx, reading{l, s}, namespace.Name)
	}
	return out, err
}

// oneStatus is the status of a Service with the problems of its namespace.
type oneStatus struct {
	status      diagnose.ServiceStatus
	ofNamespace []diagnose.ProblemStatus
	isGone      bool // it is being deleted
}

func serviceStatus(ctx context.Context, r reading, key client.ObjectKey) (oneStatus, error) {
	return valueIn(ctx, r, serviceRead{key.Namespace, key.Name}, func(ctx context.Context, r reading) (oneStatus, time.Time, error) {
		observed, problems, err := r.gather(ctx, key)
		if err != nil || observed == nil {
			return oneStatus{isGone: true}, time.Time{}, err
		}
		around, err := r.surroundings(ctx, r.from, observed)
		if err != nil {
			return oneStatus{}, time.Time{}, err
		}
		status, ofNamespace, until := diagnose.StatusOf(*observed, problems, around, r.now())
		return oneStatus{status: status, ofNamespace: ofNamespace}, until, nil
	})
}

func withoutSidecar(ctx context.Context, r reading, namespace string) ([]diagnose.RestartStatus, error) {
	return valueIn(ctx, r, sidecarsRead{namespace}, func(ctx context.Context, r reading) ([]diagnose.RestartStatus, time.Time, error) {
		var is corev1.Namespace
		if err := r.from.Get(ctx, client.ObjectKey{Name: namespace}, &is); err != nil {
			return nil, time.Time{}, err
		}
		var pods corev1.PodList
		err := r.from.List(ctx, &pods, client.InNamespace(namespace))
		return diagnose.PodsWithoutSidecar(&is, pods.Items), time.Time{}, err
	})
}

// servicesOf returns the names of the Services of a namespace, sorted, or the named ones, which must exist. It fails without
// permission to list Services.
func servicesOf(ctx context.Context, s *snapshot, namespace string, only ...string) ([]string, error) {
	var list corev1.ServiceList
	if err := s.List(ctx, &list, client.InNamespace(namespace)); err != nil {
		return nil, err
	}
	if s.gaps.Hides(namespace, "Service") {
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

// observe returns what the controller observes of a Service, and its problems. A Service that is being deleted is an error.
func (l *live) observe(ctx context.Context, s *snapshot, name string) (routing.Observed, []api.RouteProblem, error) {
	observed, problems, err := l.sources(s).Gather(ctx, client.ObjectKey{Namespace: l.namespace, Name: name})
	if err != nil {
		return routing.Observed{}, nil, err
	}
	if observed == nil {
		return routing.Observed{}, nil, notThere("service %s/%s is being deleted", l.namespace, name)
	}
	return *observed, problems, nil
}

func noService(namespace, name string, there []string) error {
	if len(there) == 0 {
		return notThere("namespace %s has no Service %s, nor any other", namespace, name)
	}
	return notThere("namespace %s has no Service %s; it has %s", namespace, name, strings.Join(there, ", "))
}
