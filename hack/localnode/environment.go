// SPDX-License-Identifier: Apache-2.0

package localnode

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"sort"
	"strings"

	corev1 "k8s.io/api/core/v1"
)

// commandLine returns the program, its arguments and its environment for one run of a container, paths of volumes
// rewritten and $(NAME) replaced as Kubernetes does. reason is the word a kubelet would show beside the error.
func (p *pod) commandLine(ctx context.Context, container corev1.Container) (line []string, env []string, reason string, err error) {
	binary, ok := p.node.options.Images[container.Image]
	if !ok {
		return nil, nil, "ErrImagePull", fmt.Errorf("image %s is none of this node's: %s", container.Image, strings.Join(sortedKeys(p.node.options.Images), ", "))
	}
	values, err := p.environment(ctx, container)
	if err != nil {
		return nil, nil, "CreateContainerConfigError", err
	}
	line = []string{binary}
	if len(container.Command) > 0 {
		if filepath.Base(container.Command[0]) != filepath.Base(binary) {
			return nil, nil, "CreateContainerError", fmt.Errorf("command %q is not in the image, which holds %s alone", container.Command[0], filepath.Base(binary))
		}
		line = append(line, container.Command[1:]...)
	}
	line = append(line, container.Args...)
	for i := 1; i < len(line); i++ {
		line[i] = p.volumes.place(container, expand(line[i], values))
	}
	for _, name := range sortedKeys(values) {
		env = append(env, name+"="+p.volumes.place(container, values[name]))
	}
	kubeconfig, err := p.volumes.kubeconfig(container)
	if err != nil {
		return nil, nil, "CreateContainerError", err
	}
	if kubeconfig != "" {
		env = append(env, "KUBECONFIG="+kubeconfig)
	}
	at := slices.IndexFunc(container.VolumeMounts, func(m corev1.VolumeMount) bool { return m.MountPath == "/tmp" })
	if at >= 0 {
		env = append(env, "TMPDIR="+p.volumes.path(container.VolumeMounts[at].Name))
	}
	return line, env, "", nil
}

// environment returns name → value, references resolved. The machine's own environment is not inherited.
func (p *pod) environment(ctx context.Context, container corev1.Container) (map[string]string, error) {
	values := map[string]string{"PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "HOSTNAME": p.key.Name, "HOME": p.dir}
	for _, from := range container.EnvFrom {
		var data map[string]string
		var err error
		switch {
		case from.ConfigMapRef != nil:
			data, err = p.volumes.configMap(ctx, from.ConfigMapRef.Name, nil, from.ConfigMapRef.Optional)
		case from.SecretRef != nil:
			data, err = p.volumes.secret(ctx, from.SecretRef.Name, nil, from.SecretRef.Optional)
		}
		if err != nil {
			return nil, err
		}
		for name, value := range data {
			values[from.Prefix+name] = value
		}
	}
	for _, variable := range container.Env {
		if variable.ValueFrom == nil {
			values[variable.Name] = expand(variable.Value, values)
			continue
		}
		value, found, err := p.reference(ctx, container, *variable.ValueFrom)
		if err != nil {
			return nil, fmt.Errorf("env %s: %w", variable.Name, err)
		}
		if found {
			values[variable.Name] = value
		}
	}
	return values, nil
}

// reference resolves one valueFrom; found is false for an optional key that is not there.
func (p *pod) reference(ctx context.Context, container corev1.Container, source corev1.EnvVarSource) (value string, found bool, err error) {
	switch {
	case source.FieldRef != nil:
		value, err = p.field(source.FieldRef.FieldPath)
		return value, err == nil, err
	case source.ResourceFieldRef != nil:
		return resourceField(container, *source.ResourceFieldRef), true, nil
	case source.SecretKeyRef != nil:
		ref := source.SecretKeyRef
		data, err := p.volumes.secret(ctx, ref.Name, []corev1.KeyToPath{{Key: ref.Key, Path: ref.Key}}, ref.Optional)
		value, found = data[ref.Key]
		return value, found, err
	case source.ConfigMapKeyRef != nil:
		ref := source.ConfigMapKeyRef
		data, err := p.volumes.configMap(ctx, ref.Name, []corev1.KeyToPath{{Key: ref.Key, Path: ref.Key}}, ref.Optional)
		value, found = data[ref.Key]
		return value, found, err
	default:
		return "", false, errors.New("a reference of a kind that a local node does not have")
	}
}

// field returns a field of the pod, by the paths that Kubernetes allows in a fieldRef. The pod's address is the one
// that its processes can listen on.
func (p *pod) field(path string) (string, error) {
	object := p.object()
	switch path {
	case "metadata.name":
		return object.Name, nil
	case "metadata.namespace":
		return object.Namespace, nil
	case "metadata.uid":
		return string(object.UID), nil
	case "metadata.labels":
		return fieldMap(object.Labels), nil
	case "metadata.annotations":
		return fieldMap(object.Annotations), nil
	case "spec.nodeName":
		return object.Spec.NodeName, nil
	case "spec.serviceAccountName":
		return object.Spec.ServiceAccountName, nil
	case "status.podIP", "status.podIPs":
		return p.local, nil
	case "status.hostIP", "status.hostIPs":
		return "127.0.0.1", nil
	}
	if key, ok := strings.CutPrefix(path, "metadata.labels['"); ok {
		return object.Labels[strings.TrimSuffix(key, "']")], nil
	}
	if key, ok := strings.CutPrefix(path, "metadata.annotations['"); ok {
		return object.Annotations[strings.TrimSuffix(key, "']")], nil
	}
	return "", fmt.Errorf("fieldRef %q is not a field that a pod can be asked for", path)
}

// fieldMap writes labels or annotations as the downward API does: key="value", one a line, sorted.
func fieldMap(values map[string]string) string {
	var lines []string
	for _, key := range sortedKeys(values) {
		lines = append(lines, fmt.Sprintf("%s=%q", key, values[key]))
	}
	return strings.Join(lines, "\n")
}

// resourceField returns a limit or request, rounded up; one that is not set is what the Node has.
func resourceField(container corev1.Container, ref corev1.ResourceFieldSelector) string {
	list, name := container.Resources.Limits, strings.TrimPrefix(ref.Resource, "limits.")
	if after, ok := strings.CutPrefix(ref.Resource, "requests."); ok {
		list, name = container.Resources.Requests, after
	}
	quantity, ok := list[corev1.ResourceName(name)]
	if !ok {
		quantity = capacity()[corev1.ResourceName(name)]
	}
	divisor := ref.Divisor.AsApproximateFloat64()
	if divisor == 0 {
		divisor = 1
	}
	whole := int64(quantity.AsApproximateFloat64() / divisor)
	if float64(whole) < quantity.AsApproximateFloat64()/divisor {
		whole++ // Kubernetes rounds up
	}
	return fmt.Sprint(whole)
}

// expand replaces $(NAME) by a value that is known; $$ is a dollar sign, anything else stays as it is.
func expand(text string, values map[string]string) string {
	var b strings.Builder
	for at := 0; at < len(text); {
		if rest := text[at:]; strings.HasPrefix(rest, "$$") {
			b.WriteByte('$')
			at += 2
			continue
		} else if strings.HasPrefix(rest, "$(") {
			if end := strings.IndexByte(rest, ')'); end > 0 {
				if value, ok := values[rest[2:end]]; ok {
					b.WriteString(value)
				} else {
					b.WriteString(rest[:end+1])
				}
				at += end + 1
				continue
			}
		}
		b.WriteByte(text[at])
		at++
	}
	return b.String()
}

func sortedKeys[V any](values map[string]V) []string {
	keys := make([]string, 0, len(values))
	for key := range values {
		keys = append(keys, key)
	}
	sort.Strings(keys)
	return keys
}
