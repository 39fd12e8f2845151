// SPDX-License-Identifier: Apache-2.0

package certs

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"maps"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// selfManaged shares a CA with the other replicas in a Secret, and signs a certificate for this replica alone.
type selfManaged struct {
	options Options
	held    bundle           // the bundle that was last read or written
	secret  *corev1.Secret   // as last read, without its data; nil before the first time
	signed  *tls.Certificate // the last signed certificate
}

func (s *selfManaged) renew(ctx context.Context, published trust) (offer, error) {
	saveErr := s.renewBundle(ctx)
	if s.held.current == nil {
		return offer{}, saveErr
	}
	noteErr := s.noteNextPublished(ctx, published)
	signErr := s.renewSigned()
	now := s.options.Now()
	out := offer{certificate: s.signed, trusted: s.held.trusted(now), again: s.held.nextChange(s.options.Overlap)}
	if s.signed != nil {
		out.again = soonest(out.again, renewal(s.signed.Leaf))
	}
	return out, errors.Join(saveErr, noteErr, signErr)
}

// renewBundle reads the Secret, applies the steps that are due, and writes it. If two replicas write at once, the second gets a
// conflict and uses what the first wrote.
func (s *selfManaged) renewBundle(ctx context.Context) error {
	secrets := s.options.Client.CoreV1().Secrets(s.options.Namespace)
	for range 5 {
		secret, err := secrets.Get(ctx, s.options.SecretName, metav1.GetOptions{})
		if apierrors.IsNotFound(err) {
			if err = s.recreate(ctx); apierrors.IsAlreadyExists(err) {
				continue // another replica, or Helm, was faster
			}
			return err
		}
		if err != nil {
			return fmt.Errorf("reading Secret %s/%s: %w", s.options.Namespace, s.options.SecretName, err)
		}
		s.secret = &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Labels: secret.Labels, Annotations: secret.Annotations}, Type: secret.Type}
		wanted, why, err := s.wanted(secret)
		if err != nil {
			return err
		}
		if why == "" {
			s.held = wanted
			return nil
		}
		err = s.save(ctx, secret, wanted)
		if apierrors.IsConflict(err) {
			continue
		}
		if err != nil {
			return err
		}
		s.options.Log.Info("the CA changed", "secret", s.options.SecretName, "why", why)
		s.held = wanted
		return nil
	}
	return fmt.Errorf("writing Secret %s/%s: other clients keep changing it", s.options.Namespace, s.options.SecretName)
}

// recreate recreates the deleted Secret with the CA that this replica holds and the labels by which Helm recognizes it.
// The chart grants no permission to create Secrets; without it the error says how to recreate the Secret. A replica that
// holds no CA waits for one that does, or for the Secret.
func (s *selfManaged) recreate(ctx context.Context) error {
	name := s.options.Namespace + "/" + s.options.SecretName
	if s.held.current == nil || s.secret == nil {
		return fmt.Errorf("reading Secret %s: it does not exist; to recreate it, run helm upgrade with the values of the release", name)
	}
	data, err := s.held.data()
	if err != nil {
		return err
	}
	secret := s.secret.DeepCopy()
	secret.Namespace, secret.Name, secret.Data = s.options.Namespace, s.options.SecretName, data
	_, err = s.options.Client.CoreV1().Secrets(s.options.Namespace).Create(ctx, secret, metav1.CreateOptions{})
	switch {
	case apierrors.IsAlreadyExists(err):
		return err
	case apierrors.IsForbidden(err):
		return fmt.Errorf("recreating Secret %s, which was deleted: Outrigger may not create Secrets; running replicas keep the CA in memory, and a restarted one has none; "+
			"to recreate the Secret, run helm upgrade with the values of the release, and a running replica writes the CA back", name)
	case err != nil:
		return fmt.Errorf("recreating Secret %s: %w", name, err)
	}
	s.options.Log.Info("recreated the deleted Secret of the CA with the CA that this replica holds", "secret", s.options.SecretName)
	return nil
}

// wanted returns the bundle that the Secret must hold, and why it must be written; an empty reason if it need not be.
func (s *selfManaged) wanted(secret *corev1.Secret) (bundle, string, error) {
	why := ""
	read, err := parseBundle(secret.Data)
	if err != nil || read.current == nil && s.held.current != nil {
		if read, why = s.held, "the Secret was emptied; the CA that this replica holds is written back"; err != nil {
			why = "parsing the Secret failed: " + err.Error()
		}
	}
	now := s.options.Now()
	for {
		due, reason := dueStep(read, now, s.options.Overlap)
		if due == nothing {
			return read, why, nil
		}
		if read, err = read.after(due, now, s.options.CADuration, s.options.LeafDuration); err != nil {
			return bundle{}, "", err
		}
		if why != "" {
			why += "; "
		}
		why += reason
	}
}

func (s *selfManaged) save(ctx context.Context, secret *corev1.Secret, b bundle) error {
	data, err := b.data()
	if err != nil {
		return err
	}
	changed := secret.DeepCopy()
	if changed.Data == nil {
		changed.Data = map[string][]byte{}
	}
	for _, key := range []string{keyCert, keyKey, keyNextCert, keyNextKey, keyNextPublished, keyOldCerts, keyOldUntil} {
		delete(changed.Data, key)
	}
	maps.Copy(changed.Data, data)
	if _, err := s.options.Client.CoreV1().Secrets(s.options.Namespace).Update(ctx, changed, metav1.UpdateOptions{}); err != nil {
		return fmt.Errorf("writing Secret %s/%s: %w", s.options.Namespace, s.options.SecretName, err)
	}
	return nil
}

// noteNextPublished records in the Secret that the next CA is published. Its overlap starts then.
func (s *selfManaged) noteNextPublished(ctx context.Context, published trust) error {
	if s.held.next == nil || !s.held.nextPublished.IsZero() || !published.has(s.held.next.cert) {
		return nil
	}
	secret, err := s.options.Client.CoreV1().Secrets(s.options.Namespace).Get(ctx, s.options.SecretName, metav1.GetOptions{})
	if err != nil {
		return fmt.Errorf("reading Secret %s/%s: %w", s.options.Namespace, s.options.SecretName, err)
	}
	stored, err := parseBundle(secret.Data)
	if err != nil || stored.next == nil || !stored.nextPublished.IsZero() || !stored.next.cert.Equal(s.held.next.cert) {
		return nil //nolint:nilerr // another replica changed it, or its content is invalid; the next reconcile handles both
	}
	noted := s.held
	noted.nextPublished = s.options.Now()
	if err := s.save(ctx, secret, noted); err != nil {
		return err
	}
	s.held = noted
	return nil
}

// renewSigned signs a new certificate when one is due.
func (s *selfManaged) renewSigned() error {
	var leaf *x509.Certificate
	if s.signed != nil {
		leaf = s.signed.Leaf
	}
	now := s.options.Now()
	needed, why := needsSigning(leaf, s.held.current, s.options.Hosts, now)
	if !needed {
		return nil
	}
	certificate, err := s.held.current.issue(s.options.Hosts, now, s.options.LeafDuration)
	if err != nil {
		return err
	}
	s.signed = certificate
	s.options.Log.Info("signed a serving certificate", "why", why, "until", certificate.Leaf.NotAfter.Format(time.RFC3339))
	return nil
}
