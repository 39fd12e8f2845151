// SPDX-License-Identifier: Apache-2.0

package certs

import (
	"context"
	"fmt"
	"maps"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// recordAnnotation is where the ledger is written. It is an annotation because releases that know nothing of it replace
// the data of the ConfigMap, and keep its annotations.
const recordAnnotation = "outrigger.dev/certificate-authorities"

// record notes what a look has shown in the ledger that all replicas share. While the ledger cannot be read or written,
// this replica goes by what it knows itself.
func (k *Keeper) record(ctx context.Context, seen scene) error {
	if k.options.RecordName == "" || k.recorded && !k.records.needsRecord(seen) {
		k.records = k.records.observe(seen, k.options.Now())
		return nil
	}
	records, err := k.writeRecords(ctx, seen)
	if err != nil {
		k.records = k.records.observe(seen, k.options.Now())
		return fmt.Errorf("recording CAs in ConfigMap %s/%s: %w", k.options.Namespace, k.options.RecordName, err)
	}
	k.records, k.recorded = records, true
	return nil
}

// writeRecords returns the ledger after the look, as it is in the ConfigMap. Of two replicas that write at once the
// second gets a conflict and goes by what the first wrote.
func (k *Keeper) writeRecords(ctx context.Context, seen scene) (ledger, error) {
	configMaps := k.options.Client.CoreV1().ConfigMaps(k.options.Namespace)
	for range 5 {
		configMap, err := configMaps.Get(ctx, k.options.RecordName, metav1.GetOptions{})
		if err != nil {
			return nil, err
		}
		read, err := parseLedger(configMap.Annotations[recordAnnotation])
		if err != nil {
			k.options.Log.Error(err, "the records of CAs cannot be read and are replaced", "configMap", k.options.RecordName, "annotation", recordAnnotation)
		}
		records := read.with(k.records).observe(seen, k.options.Now())
		if err == nil && maps.Equal(read, records) {
			return records, nil
		}
		text, err := records.text()
		if err != nil {
			return nil, err
		}
		written := configMap.DeepCopy()
		metav1.SetMetaDataAnnotation(&written.ObjectMeta, recordAnnotation, text)
		_, err = configMaps.Update(ctx, written, metav1.UpdateOptions{})
		if err == nil {
			return records, nil
		}
		if !apierrors.IsConflict(err) {
			return nil, err
		}
	}
	return nil, apierrors.NewConflict(corev1.Resource("configmaps"), k.options.RecordName, fmt.Errorf("other replicas keep changing it"))
}
