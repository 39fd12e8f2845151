// SPDX-License-Identifier: Apache-2.0

package certs

import (
	"errors"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	admissionregistrationv1 "k8s.io/api/admissionregistration/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	kubetesting "k8s.io/client-go/testing"
)

// fight is a client that changes the caBundles whenever they are as replicas want them.
type fight struct {
	*cluster
	t      *testing.T
	revert func(entry *admissionregistrationv1.MutatingWebhook)
	writes map[*Keeper][]time.Duration
	began  time.Time
}

func newFight(t *testing.T, c *cluster, revert func(*admissionregistrationv1.MutatingWebhook)) *fight {
	return &fight{cluster: c, t: t, revert: revert, writes: map[*Keeper][]time.Duration{}, began: c.now()}
}

// change writes as the other client, and lets every replica hear of it.
func (f *fight) change(keepers ...*Keeper) {
	f.t.Helper()
	webhooks := f.AdmissionregistrationV1().MutatingWebhookConfigurations()
	object, err := webhooks.Get(f.t.Context(), webhookName, metav1.GetOptions{})
	if err != nil {
		f.t.Fatal(err)
	}
	for i := range object.Webhooks {
		f.revert(&object.Webhooks[i])
	}
	if _, err := webhooks.Update(f.t.Context(), object, metav1.UpdateOptions{FieldManager: "argocd"}); err != nil {
		f.t.Fatal(err)
	}
	f.hear(keepers)
}

// hear is what the watches of the replicas do.
func (f *fight) hear(keepers []*Keeper) {
	f.t.Helper()
	object, err := f.AdmissionregistrationV1().MutatingWebhookConfigurations().Get(f.t.Context(), webhookName, metav1.GetOptions{})
	if err != nil {
		f.t.Fatal(err)
	}
	for _, k := range keepers {
		k.repairs.saw(webhookObjectOf(object), f.now())
	}
}

// run lets replicas look ten times a second for as long as given, while the other client answers each of their writes.
func (f *fight) run(length time.Duration, keepers ...*Keeper) {
	f.t.Helper()
	for end := f.now().Add(length); f.now().Before(end); f.advance(100 * time.Millisecond) {
		for _, k := range keepers {
			f.ClearActions()
			_, _ = k.reconcile(f.t.Context()) // it says that the certificate is not verified, while that is so
			for _, action := range f.Actions() {
				if action.Matches("patch", "mutatingwebhookconfigurations") {
					f.writes[k] = append(f.writes[k], f.now().Sub(f.began))
					f.hear(keepers)
					f.change(keepers...)
				}
			}
		}
	}
}

func seconds(numbers ...float64) []time.Duration {
	var out []time.Duration
	for _, n := range numbers {
		out = append(out, time.Duration(n*float64(time.Second)))
	}
	return out
}

func TestACABundleThatVerifiesNothingIsRepairedOnceASecond(t *testing.T) {
	c := newCluster()
	keeper := c.replica(t)
	look(t, keeper)
	theirs, err := newAuthority(c.now(), time.Hour)
	if err != nil {
		t.Fatal(err)
	}
	f := newFight(t, c, func(entry *admissionregistrationv1.MutatingWebhook) {
		entry.ClientConfig.CABundle = certPEM(theirs.cert)
	})
	f.change(keeper)
	f.run(10*time.Second, keeper)
	if diff := cmp.Diff(seconds(0, 1, 2, 3, 4, 5, 6, 7, 8, 9), f.writes[keeper]); diff != "" {
		t.Errorf("writes (-want +got):\n%s", diff)
	}
	if got := keeper.repairs.contestedSentence(map[string]string{kindMutating: webhookName}); got != `The field manager "argocd" keeps reverting the caBundle of MutatingWebhookConfiguration `+webhookName {
		t.Errorf("it is contested: %q", got)
	}
}

// While the serving certificate is verified, the next CA may wait: nobody serves anything of it.
func TestACABundleThatVerifiesIsWrittenRarely(t *testing.T) {
	c := newCluster()
	keeper := c.replica(t)
	look(t, keeper)
	alone := c.bundles(t)[0]
	c.advance(61 * time.Hour) // a next CA is published beside the current one
	look(t, keeper)
	f := newFight(t, c, func(entry *admissionregistrationv1.MutatingWebhook) { entry.ClientConfig.CABundle = alone })
	f.change(keeper)
	keeper.options.Overlap = 100 * time.Hour // the next CA does not begin to sign meanwhile
	f.run(90*time.Second, keeper)
	if diff := cmp.Diff(seconds(0, 0.1, 0.2, 0.3, 0.4, 10.4, 30.4, 70.4), f.writes[keeper]); diff != "" {
		t.Errorf("writes (-want +got):\n%s", diff)
	}
}

func TestACABundleWithOurCAAmongOthersIsNotWritten(t *testing.T) {
	c := newCluster()
	keeper := c.replica(t)
	look(t, keeper)
	ours := c.bundles(t)[0]
	theirs, err := newAuthority(c.now(), time.Hour)
	if err != nil {
		t.Fatal(err)
	}
	f := newFight(t, c, func(entry *admissionregistrationv1.MutatingWebhook) {
		entry.ClientConfig.CABundle = append(certPEM(theirs.cert), ours...)
	})
	f.change(keeper)
	f.run(10*time.Second, keeper)
	if len(f.writes) > 0 {
		t.Errorf("writes after %v, want none", f.writes[keeper])
	}
}

func TestOneReplicaRepairs(t *testing.T) {
	c := newCluster()
	first, second := c.replica(t), c.replica(t)
	look(t, first, second)
	f := newFight(t, c, func(entry *admissionregistrationv1.MutatingWebhook) { entry.ClientConfig.CABundle = nil })
	f.change(first, second)

	// Both want to repair at the same moment, and the API server takes the first's.
	raced := false
	c.PrependReactor("patch", "mutatingwebhookconfigurations", func(kubetesting.Action) (bool, runtime.Object, error) {
		if raced {
			return false, nil, nil
		}
		raced = true
		return true, nil, apierrors.NewConflict(schema.GroupResource{Resource: "mutatingwebhookconfigurations"}, webhookName, errors.New("it changed"))
	})
	_, _ = second.reconcile(t.Context())
	look(t, first)
	if !raced {
		t.Fatal("there was no race")
	}
	f.change(first, second)
	f.began = c.now()
	f.run(20*time.Second, second, first) // the one that lost looks first each time
	if got := f.writes[second]; len(got) > 0 {
		t.Errorf("the replica that waits wrote after %v", got)
	}
	if got := len(f.writes[first]); got < 19 || got > 20 {
		t.Errorf("%d repairs in 20s, want one a second", got)
	}

	// The one that repairs is gone.
	f.began = c.now()
	f.run(10*time.Second, second)
	if got := f.writes[second]; len(got) == 0 || got[0] < time.Second || got[0] > waitForAnother {
		t.Errorf("the other replica repaired after %v, want within %v", got, waitForAnother)
	}
}

// Replicas that look at different moments are never refused a write. They learn of each other's repairs all the same.
func TestReplicasDoNotRepairByTurns(t *testing.T) {
	c := newCluster()
	first, second := c.replica(t), c.replica(t)
	look(t, first, second)
	f := newFight(t, c, func(entry *admissionregistrationv1.MutatingWebhook) { entry.ClientConfig.CABundle = nil })
	f.change(first, second)
	f.run(500*time.Millisecond, first)
	f.run(20*time.Second, second, first)
	// The first write of each replica is a publication, which answers nobody.
	if got := len(f.writes[first]) + len(f.writes[second]); got < 20 || got > 22 {
		t.Errorf("%d repairs in 20.5s, want one a second after the first of each replica: %v and %v", got, f.writes[first], f.writes[second])
	}
}
