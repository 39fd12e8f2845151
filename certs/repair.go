// SPDX-License-Identifier: Apache-2.0

package certs

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"

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
//	may repair ──another replica repaired it──▶ waits: writes after the object was wrong for 2s
//	    ▲                                          │
//	    └──────────its own write succeeded─────────┘
//
// A replica learns of another one's repair when its own write is refused, or from the watch: the object was wrong, and is
// right again in a version that this replica did not write. Without the watch, two replicas that write by turns would never
// be refused, and would repair twice as often as one.
//
// How often it writes an object that another client keeps changing back, package contest decides.
type repairs struct {
	contests *contest.Ledger
	objects  map[string]*repair // by kind

	mutex   sync.Mutex
	ours    []byte              // the CAs that every entry needs, in PEM; nil before the first reconcile
	watched map[string]*watched // by kind
}

// repair is what this replica knows about one webhook object.
type repair struct {
	waits bool
	wrong time.Time // since when it is observed wrong; zero if it is not
	wrote string    // the resource version of this replica's last write
}

// watched is what the watch has shown of one webhook object.
type watched struct {
	intact   time.Time // when every entry was last seen with all CAs that it needs
	wrong    bool      // an entry lacks one now
	repaired string    // the resource version that made it right again; empty once takeRepair returned it
}

func newRepairs() *repairs {
	return &repairs{contests: contest.NewLedger(), objects: map[string]*repair{}, watched: map[string]*watched{}}
}

func (o webhookObject) contested() contest.Object {
	return contest.Object{Owner: o.kind, Kind: o.kind, Name: o.meta.Name}
}

// writeBundles writes the caBundles of a webhook object if one of them must change and this replica does not wait for another one.
// It returns when to try again; zero if only a change of the object matters.
func (k *Keeper) writeBundles(ctx context.Context, t webhookObject, trusted []byte) (time.Time, error) {
	if t.kind == "" {
		return time.Time{}, nil
	}
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
	if again := k.repairs.waitsUntil(t.kind, now); !again.IsZero() {
		return again, nil
	}
	verdict := k.repairs.contests.Judge(attempt)
	if verdict.Contested {
		k.repairs.contests.Contest(attempt.Object, contest.ManagerOf(t.meta.ManagedFields, fieldManager, "webhooks"))
	}
	if !verdict.Write {
		return verdict.Again, nil
	}
	version, err := k.patch(ctx, t, patch)
	if err != nil {
		if k.wroteFirst(ctx, t, err) {
			k.repairs.of(t.kind).waits = true
			return now.Add(waitForAnother), nil
		}
		return time.Time{}, fmt.Errorf("writing the caBundle of %s %s: %w", t.kind, t.meta.Name, err)
	}
	if t.kind == kindMutating {
		k.trusts(t.entries, func(e entry) []byte { return e.wanted })
	}
	*k.repairs.of(t.kind) = repair{wrote: version}
	k.repairs.contests.Wrote(attempt, bundlesDigest(t.entries, func(e entry) []byte { return e.wanted }))
	k.options.Log.Info("published the caBundle", "object", t.kind+" "+t.meta.Name)
	return time.Time{}, nil
}

// wroteFirst reports whether a patch failed because another client changed the object after it was read.
func (k *Keeper) wroteFirst(ctx context.Context, t webhookObject, err error) bool {
	if apierrors.IsConflict(err) {
		return true
	}
	if !apierrors.IsInvalid(err) {
		return false
	}
	now, readErr := k.read(ctx, t.kind, t.meta.Name)
	return readErr == nil && now.meta.ResourceVersion != t.meta.ResourceVersion
}

func (r *repairs) of(kind string) *repair {
	if r.objects[kind] == nil {
		r.objects[kind] = &repair{}
	}
	return r.objects[kind]
}

// waitsUntil returns until when this replica leaves the repair of an object that is wrong now to another replica; zero if it does
// not wait.
func (r *repairs) waitsUntil(kind string, now time.Time) time.Time {
	known := r.of(kind)
	if known.wrong.IsZero() {
		known.wrong = now
	}
	since, repaired := r.takeRepair(kind)
	if repaired != "" && repaired != known.wrote {
		known.waits = true
	}
	if !known.waits {
		return time.Time{}
	}
	if since.Before(known.wrong) {
		since = known.wrong
	}
	if at := since.Add(waitForAnother); now.Before(at) {
		return at
	}
	return time.Time{}
}

// takeRepair returns when an object was last seen intact, and the version of the last repair that the watch has shown since the
// last call; empty if there was none.
func (r *repairs) takeRepair(kind string) (intact time.Time, repaired string) {
	r.mutex.Lock()
	defer r.mutex.Unlock()
	seen := r.watched[kind]
	if seen == nil {
		return time.Time{}, ""
	}
	repaired, seen.repaired = seen.repaired, ""
	return seen.intact, repaired
}

// need stores which CAs every entry needs.
func (r *repairs) need(trusted []byte) {
	r.mutex.Lock()
	defer r.mutex.Unlock()
	r.ours = trusted
}

// saw stores a state of a webhook object that the watch delivered.
func (r *repairs) saw(o webhookObject, now time.Time) {
	r.mutex.Lock()
	defer r.mutex.Unlock()
	if len(r.ours) == 0 || len(o.entries) == 0 {
		return
	}
	seen := r.watched[o.kind]
	if seen == nil {
		seen = &watched{}
		r.watched[o.kind] = seen
	}
	if !allContain(o.entries, bundleCerts(r.ours)) {
		seen.wrong = true
		return
	}
	if seen.wrong {
		seen.repaired = o.meta.ResourceVersion
	}
	seen.wrong, seen.intact = false, now
}

func allContain(entries []entry, needed []*x509.Certificate) bool {
	return !slices.ContainsFunc(entries, func(e entry) bool {
		has := bundleCerts(e.caBundle)
		return slices.ContainsFunc(needed, func(cert *x509.Certificate) bool { return !contains(has, cert) })
	})
}

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

// contestedSentence names the client that contests a webhook object; empty if there is none.
func (r *repairs) contestedSentence(names map[string]string) string {
	for _, kind := range []string{kindMutating, kindValidating} {
		object := contest.Object{Owner: kind, Kind: kind, Name: names[kind]}
		if manager := r.contests.Manager(object); manager != "" {
			return fmt.Sprintf("The field manager %q keeps reverting the caBundle of %s %s", manager, kind, names[kind])
		}
	}
	return ""
}
