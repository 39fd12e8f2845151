// SPDX-License-Identifier: Apache-2.0

package certs

import (
	"bytes"
	"crypto/x509"
	"errors"
	"slices"
	"strconv"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	kubetesting "k8s.io/client-go/testing"
)

const recordName = "outrigger-last-good"

// withRecords adds the ConfigMap, with what the webhook keeps in it, and refuses writes that are based on an old one.
func (c *cluster) withRecords(t *testing.T) *cluster {
	t.Helper()
	_, err := c.CoreV1().ConfigMaps(ownNamespace).Create(t.Context(), &corev1.ConfigMap{
		ObjectMeta: metav1.ObjectMeta{Namespace: ownNamespace, Name: recordName, ResourceVersion: "1"},
		Data:       map[string]string{"config": "of the webhook"},
	}, metav1.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	c.PrependReactor("update", "configmaps", func(action kubetesting.Action) (bool, runtime.Object, error) {
		c.mu.Lock()
		defer c.mu.Unlock()
		written := action.(kubetesting.UpdateAction).GetObject().(*corev1.ConfigMap).DeepCopy()
		held, err := c.Tracker().Get(corev1.SchemeGroupVersion.WithResource("configmaps"), ownNamespace, recordName)
		if err != nil {
			return true, nil, err
		}
		version := held.(*corev1.ConfigMap).ResourceVersion
		if written.ResourceVersion != version {
			return true, nil, apierrors.NewConflict(corev1.Resource("configmaps"), written.Name, errors.New("changed meanwhile"))
		}
		next, err := strconv.Atoi(version)
		if err != nil {
			return true, nil, err
		}
		written.ResourceVersion = strconv.Itoa(next + 1)
		return true, written, c.Tracker().Update(corev1.SchemeGroupVersion.WithResource("configmaps"), written, ownNamespace)
	})
	return c
}

func recording(o *Options) { o.RecordName = recordName }

// fromGiven has the certificate come from a Secret beside that of the self-managed CA.
func fromGiven(o *Options) { o.Source, o.SecretName = FromSecret, "given" }

// plant puts CAs into one entry, as a third party does.
func (c *cluster) plant(t *testing.T, entry int, cas ...*x509.Certificate) {
	t.Helper()
	webhooks := c.AdmissionregistrationV1().MutatingWebhookConfigurations()
	object, err := webhooks.Get(t.Context(), webhookName, metav1.GetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	object.Webhooks[entry].ClientConfig.CABundle = append(object.Webhooks[entry].ClientConfig.CABundle, pemOf(cas...)...)
	if _, err := webhooks.Update(t.Context(), object, metav1.UpdateOptions{}); err != nil {
		t.Fatal(err)
	}
}

// has returns which entries have the CA.
func (c *cluster) has(t *testing.T, ca *x509.Certificate) []bool {
	t.Helper()
	var out []bool
	for _, bundle := range c.bundles(t) {
		out = append(out, contains(bundleCerts(bundle), ca))
	}
	return out
}

func (c *cluster) wantIn(t *testing.T, when string, ca *x509.Certificate, want ...bool) {
	t.Helper()
	if got := c.has(t, ca); !slices.Equal(got, want) {
		t.Errorf("%s: the entries with the CA are %v, want %v", when, got, want)
	}
}

func TestAThirdPartysCAStaysInItsEntryAndARestartDoesNotRenewIt(t *testing.T) {
	c := newCluster().withValidator(t).withRecords(t)
	withValidator := func(o *Options) { o.Validator = validatorName }
	a, b := c.replica(t, recording, withValidator), c.replica(t, recording, withValidator)
	look(t, a, b)
	stranger := mustAuthority(t, start, 1000*time.Hour).cert
	c.plant(t, 1, stranger)
	look(t, a, b)
	c.wantIn(t, "after it was put there", stranger, false, true)
	for i, bundle := range c.validatorBundles(t) {
		if contains(bundleCerts(bundle), stranger) {
			t.Errorf("entry %d of the validating webhook object has it too", i)
		}
	}
	for range 3 {
		c.advance(3 * time.Minute)
		a, b = c.replica(t, recording, withValidator), c.replica(t, recording, withValidator) // restarted
		look(t, a, b)
		c.wantIn(t, "within its ten minutes", stranger, false, true)
	}
	wait, err := a.reconcile(t.Context())
	if err != nil || wait > time.Minute {
		t.Errorf("the next look is in %v, %v; want it within the minute that is left", wait, err)
	}
	c.advance(time.Minute)
	a = c.replica(t, recording, withValidator)
	look(t, a)
	c.wantIn(t, "ten minutes after the first sighting", stranger, false, false)

	c.advance(time.Hour)
	look(t, a, b)
	c.plant(t, 0, stranger)
	look(t, b)
	c.wantIn(t, "put there a second time", stranger, false, false)
	c.trusted(t, a, b)
	configMap, err := c.CoreV1().ConfigMaps(ownNamespace).Get(t.Context(), recordName, metav1.GetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(map[string]string{"config": "of the webhook"}, configMap.Data); diff != "" {
		t.Errorf("the webhook's own record changed (-want +got):\n%s", diff)
	}
}

// While nothing is foreign, nothing is written and after the first look nothing is read.
func TestRecordsCostNothingWithoutAForeignCA(t *testing.T) {
	c := newCluster().withRecords(t)
	keeper := c.replica(t, recording)
	look(t, keeper)
	c.ClearActions()
	c.advance(lease)
	look(t, keeper)
	for _, action := range c.Actions() {
		if action.GetResource().Resource == "configmaps" || action.GetVerb() != "get" {
			t.Errorf("it asked for %s %s", action.GetVerb(), action.GetResource().Resource)
		}
	}
}

// Where the records cannot be kept, a replica goes by what it saw itself, and says so.
func TestWithoutRecordsAForeignCAStillGoes(t *testing.T) {
	c := newCluster()
	keeper := c.replica(t, recording)
	stranger := mustAuthority(t, start, 1000*time.Hour).cert
	c.plant(t, 1, stranger)
	if _, err := keeper.reconcile(t.Context()); err == nil || !bytes.Contains([]byte(err.Error()), []byte("ConfigMap outrigger-system/outrigger-last-good")) {
		t.Errorf("got %v; want an error that names the ConfigMap", err)
	}
	c.trusted(t, keeper)
	c.wantIn(t, "at first", stranger, false, true)
	c.advance(lease)
	_, _ = keeper.reconcile(t.Context())
	c.wantIn(t, "after its lease", stranger, false, false)
	c.trusted(t, keeper)
}

// Records of another replica count: one that sees a CA late gives it no more time. What was spoilt is replaced.
func TestReplicasShareTheirRecords(t *testing.T) {
	c := newCluster().withRecords(t)
	a := c.replica(t, recording)
	look(t, a)
	stranger := mustAuthority(t, start, 1000*time.Hour).cert
	c.plant(t, 0, stranger)
	look(t, a)
	late := c.replica(t, recording)
	c.advance(lease)
	look(t, late)
	c.wantIn(t, "seen late by another replica", stranger, false, false)

	configMap, err := c.CoreV1().ConfigMaps(ownNamespace).Get(t.Context(), recordName, metav1.GetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	configMap.Annotations[recordAnnotation] = "{"
	if _, err := c.CoreV1().ConfigMaps(ownNamespace).Update(t.Context(), configMap, metav1.UpdateOptions{}); err != nil {
		t.Fatal(err)
	}
	c.plant(t, 1, stranger)
	look(t, late)
	c.wantIn(t, "after the records were spoilt", stranger, false, false)
}

// The source changes while replicas of both run, for longer than the lease, and back. Every replica is trusted by every
// entry at any time.
func TestAChangeOfTheSourceHasNoGap(t *testing.T) {
	c := newCluster().withRecords(t)
	own := mustAuthority(t, start, 1000*time.Hour)
	_, err := c.CoreV1().Secrets(ownNamespace).Create(t.Context(), &corev1.Secret{
		ObjectMeta: metav1.ObjectMeta{Namespace: ownNamespace, Name: "given"}, Data: tlsData(t, own, start),
	}, metav1.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	before := c.replica(t, recording)
	look(t, before)
	first := ca(before).current.cert
	for round := range 3 {
		after := c.replica(t, recording, fromGiven)
		look(t, after)
		for range 10 {
			c.advance(4 * time.Minute)
			look(t, before, after)
			c.trusted(t, before, after)
		}
		// The replicas of the other source are gone, and so is their CA after its lease.
		for range 4 {
			c.advance(4 * time.Minute)
			look(t, after)
			c.trusted(t, after)
		}
		c.wantIn(t, "long after the change", first, false, false)
		c.advance(time.Hour)
		before = c.replica(t, recording) // and back
		look(t, before)
		for range 10 {
			c.advance(4 * time.Minute)
			look(t, after, before)
			c.trusted(t, after, before)
		}
		for range 4 {
			c.advance(4 * time.Minute)
			look(t, before)
		}
		c.wantIn(t, "long after the change back, round "+strconv.Itoa(round), own.cert, false, false)
	}
}
