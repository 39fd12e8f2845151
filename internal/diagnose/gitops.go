// SPDX-License-Identifier: Apache-2.0

package diagnose

import (
	"bytes"
	"cmp"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"outrigger.dev/outrigger/api"
)

// gitOpsMarks are the labels and annotations that GitOps tools set on the objects that they manage.
var gitOpsMarks = []struct{ key, tool string }{
	{"argocd.argoproj.io/tracking-id", "Argo CD"},
	{"argocd.argoproj.io/instance", "Argo CD"},
	{"kustomize.toolkit.fluxcd.io/name", "Flux (Kustomization)"},
	{"helm.toolkit.fluxcd.io/name", "Flux (HelmRelease)"},
}

// gitOpsTool returns the GitOps tool that manages a Service, with the application: "Argo CD shop". It returns "" if no label or
// annotation names one.
func gitOpsTool(service *corev1.Service) string {
	for _, mark := range gitOpsMarks {
		if value := cmp.Or(service.Annotations[mark.key], service.Labels[mark.key]); value != "" {
			application, _, _ := strings.Cut(value, ":") // Argo CD: application:group/kind:namespace/name
			return mark.tool + " " + application
		}
	}
	switch by := strings.ToLower(service.Labels["app.kubernetes.io/managed-by"]); {
	case strings.HasPrefix(by, "argo"):
		return "Argo CD"
	case strings.HasPrefix(by, "flux"), by == "kustomize-controller", by == "helm-controller":
		return "Flux"
	}
	return ""
}

// restoredBy returns a warning that a GitOps tool restores the annotations, or "" if none manages the Service.
func restoredBy(service *corev1.Service, wanted map[string]string) string {
	tool := gitOpsTool(service)
	if tool == "" {
		return ""
	}
	keys := slices.DeleteFunc(slices.Sorted(maps.Keys(wanted)), func(key string) bool { return key == api.AnnotationDecidedAt })
	declared := slices.DeleteFunc(slices.Clone(keys), func(key string) bool { return !declares(service, key) })
	if len(declared) > 0 {
		return fmt.Sprintf("%s manages this Service, and its source sets %s. The next sync restores the value of the source. Change the source, too.", tool, strings.Join(declared, " and "))
	}
	return fmt.Sprintf("%s manages this Service. If its source sets %s, the next sync restores the value of the source. Change the source, too.", tool, strings.Join(keys, " or "))
}

// declares reports whether the manifest that was last applied to a Service sets an annotation.
func declares(service *corev1.Service, key string) bool {
	var file struct {
		Metadata metav1.ObjectMeta `json:"metadata"`
	}
	if json.Unmarshal([]byte(service.Annotations[corev1.LastAppliedConfigAnnotation]), &file) == nil && file.Metadata.Annotations[key] != "" {
		return true
	}
	return slices.ContainsFunc(service.ManagedFields, func(entry metav1.ManagedFieldsEntry) bool {
		return entry.Operation == metav1.ManagedFieldsOperationApply && entry.FieldsV1 != nil && bytes.Contains(entry.FieldsV1.GetRawBytes(), []byte(`"f:`+key+`"`))
	})
}
