// SPDX-License-Identifier: Apache-2.0

package certs

import (
	"context"
	"crypto/tls"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	admissionregistrationv1 "k8s.io/api/admissionregistration/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"outrigger.dev/outrigger/internal/contest"
)

const (
	// fieldManager is the name under which replicas write the webhook objects.
	fieldManager = "outrigger"
	// waitForAnother is how long a replica that does not repair a webhook object lets it be wrong before it does.
	waitForAnother = 2 * time.Second
)

// repairs decides when this replica writes a webhook object, so that all replicas together write it once.
//
//	may repair ──another replica wrote first──▶ waits: writes after the object was wrong for 2s
//	    ▲                                          │
//	    └──────────its own write succeeded─────────┘
//
// How often it writes an object that another client keeps changing back, package contest decides.
type repairs struct {
	contests *contest.Ledger
	objects  map[string]*repair // by kind

	mutex  sync.Mutex
	ours   []byte               // the CAs that every entry needs, in PEM; nil before the first look
	intact map[string]time.Time // when an object of a kind was last seen with all of them
}

// repair is what is known of one webhook object.
type repair struct {
	waits bool
	wrong time.Time // since when it is seen wrong; zero if it is not
}

func newRepairs() *repairs {
	return &repairs{contests: contest.NewLedger(), objects: map[string]*repair{}, intact: map[string]time.Time{}}
}

// target is a webhook object that may have to be written.
type target struct {
	kind    string
	meta    metav1.ObjectMeta
	entries []entry
	patch   func(ctx context.Context, patch []byte) error
	version func(ctx context.Context) (string, error) // its resource version now
}

func (t target) contested() contest.Object {
	return contest.Object{Owner: t.kind, Kind: t.kind, Name: t.meta.Name}
}

// writeBundles writes the caBundles of a webhook object if one of them must change and it is this replica's turn. It
// returns when to look again, zero if only a change of the object matters.
func (k *Keeper) writeBundles(ctx context.Context, t target, trusted []byte) (time.Time, error) {
	patch, err := bundlePatch(t.entries)
	if err != nil {
		return time.Time{}, err
	}
	now := k.options.Now()
	if patch == nil {
		k.repairs.of(t.kind).wrong = time.Time{}
		_, until := k.repairs.contests.Settled(t.contested(), now)
		return until, nil
	}
	attempt := contest.Attempt{
		Object: t.contested(), Found: bundlesDigest(t.entries, func(e entry) []byte { return e.caBundle }),
		Harm: breaksCalls(t.entries, k.serving.Load(), k.options.Hosts[0], now), Decision: digestOf(trusted), Now: now,
	}
	if again := k.repairs.turn(t.kind, now); !again.IsZero() {
		return again, nil
	}
	verdict := k.repairs.contests.Judge(attempt)
	if verdict.Contested {
		k.repairs.contests.Contest(attempt.Object, contest.ManagerOf(t.meta.ManagedFields, fieldManager, "webhooks"))
	}
	if !verdict.Write {
		return verdict.Again, nil
	}
	if err := t.patch(ctx, patch); err != nil {
		if k.wroteFirst(ctx, t, err) {
			k.repairs.of(t.kind).waits = true
			return now.Add(waitForAnother), nil
		}
		return time.Time{}, fmt.Errorf("writing the caBundle of %s %s: %w", t.kind, t.meta.Name, err)
	}
	*k.repairs.of(t.kind) = repair{}
	k.repairs.contests.Wrote(attempt, bundlesDigest(t.entries, func(e entry) []byte { return e.wanted }))
	k.options.Log.Info("the caBundle was published", "object", t.kind+" "+t.meta.Name)
	return time.Time{}, nil
}

// wroteFirst reports whether a patch failed because the object changed after it was read: one of its tests failed.
func (k *Keeper) wroteFirst(ctx context.Context, t target, err error) bool {
	if apierrors.IsConflict(err) {
		return true
	}
	if !apierrors.IsInvalid(err) {
		return false
	}
	version, readErr := t.version(ctx)
	return readErr == nil && version != t.meta.ResourceVersion
}

// of returns what is known of the object of a kind.
func (r *repairs) of(kind string) *repair {
	if r.objects[kind] == nil {
		r.objects[kind] = &repair{}
	}
	return r.objects[kind]
}

// turn returns when it is this replica's turn to repair an object that is wrong now; zero if it is.
func (r *repairs) turn(kind string, now time.Time) time.Time {
	known := r.of(kind)
	if known.wrong.IsZero() {
		known.wrong = now
	}
	if !known.waits {
		return time.Time{}
	}
	r.mutex.Lock()
	since := r.intact[kind]
	r.mutex.Unlock()
	if since.Before(known.wrong) {
		since = known.wrong
	}
	if at := since.Add(waitForAnother); now.Before(at) {
		return at
	}
	return time.Time{}
}

// need notes which CAs every entry needs.
func (r *repairs) need(trusted []byte) {
	r.mutex.Lock()
	defer r.mutex.Unlock()
	r.ours = trusted
}

// saw notes that a state of a webhook object was seen, perhaps between two looks: where it is as it must be, somebody has
// just repaired it.
func (r *repairs) saw(kind string, entries []entry, now time.Time) {
	r.mutex.Lock()
	defer r.mutex.Unlock()
	if len(r.ours) == 0 || len(entries) == 0 {
		return
	}
	needed := bundleCerts(r.ours)
	for _, e := range entries {
		has := bundleCerts(e.caBundle)
		for _, cert := range needed {
			if !contains(has, cert) {
				return
			}
		}
	}
	r.intact[kind] = now
}

// sawObject is saw for an object of either kind.
func (k *Keeper) sawObject(object any) {
	switch o := object.(type) {
	case *admissionregistrationv1.MutatingWebhookConfiguration:
		k.repairs.saw(kindMutating, entriesOf(o), k.options.Now())
	case *admissionregistrationv1.ValidatingWebhookConfiguration:
		k.repairs.saw(kindValidating, entriesOfValidator(o), k.options.Now())
	}
}

const (
	kindMutating   = "MutatingWebhookConfiguration"
	kindValidating = "ValidatingWebhookConfiguration"
)

// breaksCalls reports whether an entry does not verify the certificate that this replica serves, so that calls fail.
func breaksCalls(entries []entry, serving *tls.Certificate, host string, now time.Time) bool {
	return serving == nil || slices.ContainsFunc(entries, func(e entry) bool {
		_, err := trustOf(e.caBundle).verify(serving, host, now)
		return err != nil
	})
}

// bundlesDigest identifies the certificates of all entries, whatever their order.
func bundlesDigest(entries []entry, bundle func(entry) []byte) string {
	var out strings.Builder
	for _, e := range entries {
		out.WriteString(e.name + "=" + digestOf(bundle(e)) + "\n")
	}
	return out.String()
}

// digestOf identifies the certificates of a bundle, whatever their order.
func digestOf(bundle []byte) string {
	var prints []string
	for _, cert := range bundleCerts(bundle) {
		prints = append(prints, fingerprint(cert))
	}
	slices.Sort(prints)
	return strings.Join(prints, ",")
}

// contestedSentence says who contests a webhook object; empty if nobody does.
func (r *repairs) contestedSentence(names map[string]string) string {
	for _, kind := range []string{kindMutating, kindValidating} {
		object := contest.Object{Owner: kind, Kind: kind, Name: names[kind]}
		if manager := r.contests.Manager(object); manager != "" {
			return fmt.Sprintf("The field manager %q keeps reverting the caBundle of %s %s", manager, kind, names[kind])
		}
	}
	return ""
}
