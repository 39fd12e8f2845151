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

// recordAnnotation holds the ledger. It is an annotation because earlier releases replace the data of the ConfigMap and keep its
// annotations.
const recordAnnotation = "outrigger.dev/certificate-authorities"

// record adds an observation to the ledger that all replicas share. While the ledger cannot be read or written, this replica uses
// its own records.
func (k *Keeper) record(ctx context.Context, seen observation) error {
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

// writeRecords writes the ledger after an observation to the ConfigMap and returns it. If two replicas write at once, the second
// gets a conflict and continues from what the first wrote.
func (k *Keeper) writeRecords(ctx context.Context, seen observation) (ledger, error) {
	configMaps := k.options.Client.CoreV1().ConfigMaps(k.options.Namespace)
	for range 5 {
		configMap, err := configMaps.Get(ctx, k.options.RecordName, metav1.GetOptions{})
		if err != nil {
			return nil, err
		}
		read, err := parseLedger(configMap.Annotations[recordAnnotation])
		if err != nil {
			k.options.Log.Error(err, "parsing the records of CAs failed; they are replaced", "configMap", k.options.RecordName, "annotation", recordAnnotation)
		}
		records := read.mergedWith(k.records).observe(seen, k.options.Now())
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
