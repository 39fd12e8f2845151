package controller

import (
	"context"
	"fmt"

	"github.com/go-logr/logr"
	"k8s.io/apimachinery/pkg/api/meta"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"outrigger.dev/outrigger/api"
	"outrigger.dev/outrigger/routing"
)

// Looker reads the cluster for one plan at a time as the controller does, for those who want to know what it knows. It
// writes nothing.
type Looker struct{ reconciler }

// NewLooker returns a Looker that reads through reader, which need not be a cache. The mapper knows which kinds of other
// controllers the cluster has.
func NewLooker(reader client.Reader, mapper meta.RESTMapper, options Options) *Looker {
	if options.RootNamespace == "" {
		options.RootNamespace = defaultRootNamespace
	}
	// A kind that is not there has no mapping, and so no objects.
	served := func(context.Context, string) bool { return true }
	return &Looker{reconciler{options: options, reader: reader, others: newElsewhere(reader, mapper, logr.Discard(), served)}}
}

// Look returns what the plan for a Service depends on, and what is wrong with its annotations; nil if the Service is not
// there or goes. Where nobody asked for routes and none stand, nothing but the Service, its Namespace and Istio's objects
// is read.
func (l *Looker) Look(ctx context.Context, service client.ObjectKey) (*routing.Observed, []api.RouteProblem, error) {
	observed, problems, err := l.gather(ctx, service)
	if err != nil {
		return nil, nil, fmt.Errorf("read the cluster for Service %s: %w", service, err)
	}
	return observed, problems, nil
}

// LookWhole returns the same, with pods and workloads also where nobody asked for routes.
func (l *Looker) LookWhole(ctx context.Context, service client.ObjectKey) (*routing.Observed, []api.RouteProblem, error) {
	observed, problems, err := l.Look(ctx, service)
	if err != nil || observed == nil || observed.ServiceNames != nil {
		return observed, problems, err
	}
	for _, read := range []func(context.Context, *routing.Observed) error{l.readPods, l.readWorkloads, l.readServices, l.readIngress} {
		if err := read(ctx, observed); err != nil {
			return nil, nil, fmt.Errorf("read the cluster for Service %s: %w", service, err)
		}
	}
	return observed, problems, nil
}
