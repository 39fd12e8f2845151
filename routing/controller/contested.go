// SPDX-License-Identifier: Apache-2.0

package controller

import (
	"context"
	"encoding/json"
	"fmt"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/client/apiutil"

	"outrigger.dev/outrigger/api"
	"outrigger.dev/outrigger/internal/contest"
	"outrigger.dev/outrigger/routing"
)

// admission is which changes of one Service are written now, if other clients revert its objects.
type admission struct {
	changes  []routing.Change   // to be written now, in their order
	delayed  []routing.Change   // to be written later
	problems []api.RouteProblem // the contested objects
	next     time.Time          // when to look again; zero if nothing is contested
}

// admit divides changes into those that are written now and those that are delayed, and reports which field manager contests an
// object.
func (r *reconciler) admit(ctx context.Context, observed *routing.Observed, changes []routing.Change) (admission, error) {
	now := r.now()
	var out admission
	changing := map[contest.Object]bool{}
	for _, change := range changes {
		attempt, err := r.attempt(observed, change)
		if err != nil {
			return out, err
		}
		changing[attempt.Object] = true
		verdict := r.contests.Judge(attempt)
		if verdict.Contested {
			manager := r.contests.Manager(attempt.Object)
			if verdict.Write || manager == "" {
				if manager, err = r.otherManager(ctx, change); err != nil {
					return out, err
				}
				r.contests.Contest(attempt.Object, manager)
			}
			out.problems = append(out.problems, contestedProblem(observed, attempt.Object, manager))
		}
		if !verdict.Write {
			out.next = earlier(out.next, verdict.Again)
		}
		if !verdict.Write || routing.MustWait(*observed, change, out.delayed) {
			out.delayed = append(out.delayed, change)
			continue
		}
		out.changes = append(out.changes, change)
	}
	for _, object := range r.contests.Of(ownerOf(observed)) {
		if changing[object] {
			continue
		}
		if manager, until := r.contests.Settled(object, now); !until.IsZero() {
			out.problems = append(out.problems, contestedProblem(observed, object, manager))
			out.next = earlier(out.next, until)
		}
	}
	return out, nil
}

// attempt describes a change to the Ledger.
func (r *reconciler) attempt(observed *routing.Observed, change routing.Change) (contest.Attempt, error) {
	gvk, err := apiutil.GVKForObject(change.Object, r.writer.Scheme())
	if err != nil {
		return contest.Attempt{}, err
	}
	decision, err := json.Marshal(observed.Intent)
	if err != nil {
		return contest.Attempt{}, fmt.Errorf("encode the settings of Service %s: %w", client.ObjectKeyFromObject(observed.Service), err)
	}
	found := existingObject(observed.Existing, change.Object)
	if change.Action == routing.Release {
		found = change.Object
	}
	return contest.Attempt{
		Object:   contest.Object{Owner: ownerOf(observed), Kind: gvk.Kind, Namespace: change.Object.GetNamespace(), Name: change.Object.GetName()},
		Found:    routing.Fingerprint(found),
		Harm:     routing.RepairsRoute(*observed, change),
		Decision: api.ShortHash(string(decision)),
		Now:      r.now(),
	}, nil
}

// digestAfter is the digest of an object once a change is written.
func digestAfter(observed *routing.Observed, change routing.Change) string {
	switch change.Action {
	case routing.Delete:
		return contest.Absent
	case routing.Release:
		return routing.Fingerprint(routing.Released(change.Object, observed.Service))
	}
	return routing.Fingerprint(change.Object)
}

// otherManager returns the field manager that changed an object back. The caches keep no managed fields, so this asks the
// API server.
func (r *reconciler) otherManager(ctx context.Context, change routing.Change) (string, error) {
	body, err := bodyOf(change.Object)
	if err != nil {
		return "", err
	}
	gvk, err := apiutil.GVKForObject(change.Object, r.writer.Scheme())
	if err != nil {
		return "", err
	}
	body.SetGroupVersionKind(gvk)
	live, err := r.live(ctx, body)
	if apierrors.IsNotFound(err) {
		return contest.ManagerOf(nil, api.FieldManager, ""), nil
	}
	if err != nil {
		return "", fmt.Errorf("read who changed %s %s: %w", gvk.Kind, client.ObjectKeyFromObject(change.Object), err)
	}
	return contest.ManagerOf(live.ManagedFields, api.FieldManager, "spec"), nil
}

func contestedProblem(observed *routing.Observed, object contest.Object, manager string) api.RouteProblem {
	service := observed.Service
	return api.RouteProblem{
		Object: api.ObjectRef{Kind: object.Kind, Namespace: object.Namespace, Name: object.Name},
		Field:  "metadata.managedFields", Value: manager, Reason: api.RouteContested,
		Message: "This field manager keeps reverting the object. Outrigger writes it again after growing waits of up to 5 minutes; a subset that the current route names is restored within a second.",
		Advice: fmt.Sprintf("Exclude the object from that tool, or end the Service's routes: kubectl label service -n %s %s %s=disabled --overwrite. To see who writes: kubectl get %s -n %s %s -o yaml --show-managed-fields.",
			service.Namespace, service.Name, api.LabelRouting, routing.ResourceOf(object.Kind), object.Namespace, object.Name),
	}
}

// ownerOf names the Service that objects are kept for.
func ownerOf(observed *routing.Observed) string {
	return client.ObjectKeyFromObject(observed.Service).String()
}
