// SPDX-License-Identifier: Apache-2.0

package diagnose

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"

	"outrigger.dev/outrigger/api"
)

// AnnotateCommand returns the kubectl command that writes the annotations. It can be pasted into a shell.
func AnnotateCommand(service *corev1.Service, wanted map[string]string) string {
	return fmt.Sprintf("kubectl annotate service -n %s %s %s --overwrite", service.Namespace, service.Name, strings.Join(KubectlArguments(wanted), " "))
}

// KubectlArguments returns annotations or labels as arguments of kubectl in a shell, sorted.
func KubectlArguments(values map[string]string) []string {
	var out []string
	for _, key := range slices.Sorted(maps.Keys(values)) {
		if values[key] == "" {
			out = append(out, key+"-")
		} else {
			out = append(out, api.ShellWord(key+"="+values[key]))
		}
	}
	return out
}
