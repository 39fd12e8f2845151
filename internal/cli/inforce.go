// SPDX-License-Identifier: Apache-2.0

package cli

import (
	"context"
	"fmt"

	"sigs.k8s.io/controller-runtime/pkg/client"

	"outrigger.dev/outrigger/internal/diagnose"
)

// decided returns what is still missing until the decisions are applied, or "" if they are. It returns an error if another client
// has replaced a decision, which is then never applied.
func (l *live) decided(ctx context.Context, forecasts []diagnose.Forecast) (string, error) {
	s := l.snapshot(l.namespace, false)
	sources := l.sources(s)
	for _, o := range forecasts {
		observed, _, err := sources.Gather(ctx, client.ObjectKeyFromObject(o.Observed.Service))
		if err != nil {
			return "", err
		}
		if observed == nil {
			return "", fmt.Errorf("service %s is gone", client.ObjectKeyFromObject(o.Observed.Service))
		}
		if why := diagnose.ReplacedDecision(observed.Service.Annotations, o.Annotations); why != "" {
			return "", fmt.Errorf("service %s: %s; what this command requested does not apply", client.ObjectKeyFromObject(observed.Service), why)
		}
		if why := diagnose.WhyNotApplied(*observed, s.gaps, l.now()); why != "" {
			return "service/" + o.Observed.Service.Name + ": " + why, nil
		}
	}
	return "", nil
}
