// SPDX-License-Identifier: Apache-2.0

package localnode

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"sort"
	"strings"
	"time"

	authenticationv1 "k8s.io/api/authentication/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// tokenPath is where every client library looks for the token of a pod.
const tokenPath = "/var/run/secrets/kubernetes.io/serviceaccount"

// volumes are the folders of one pod's volumes.
type volumes struct {
	pod    *pod
	tokens map[string]time.Time // file of a token → when it is to be renewed
}

func (v *volumes) path(volume string) string { return filepath.Join(v.pod.dir, "volumes", volume) }

// write brings every volume to what the API says now. It is called before the containers start, and again from time to
// time: a mounted Secret, ConfigMap or token is renewed while the pod runs, as a kubelet does. An error names the
// volume; it is worth trying again.
func (v *volumes) write(ctx context.Context) error {
	for _, volume := range v.pod.spec().Volumes {
		if err := v.writeOne(ctx, volume); err != nil {
			return fmt.Errorf("volume %s: %w", volume.Name, err)
		}
	}
	return nil
}

func (v *volumes) writeOne(ctx context.Context, volume corev1.Volume) error {
	dir := v.path(volume.Name)
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return err
	}
	switch {
	case volume.EmptyDir != nil:
		return nil
	case volume.Secret != nil:
		files, err := v.secret(ctx, volume.Secret.SecretName, volume.Secret.Items, volume.Secret.Optional)
		return errors.Join(err, replaceFiles(dir, files, err))
	case volume.ConfigMap != nil:
		files, err := v.configMap(ctx, volume.ConfigMap.Name, volume.ConfigMap.Items, volume.ConfigMap.Optional)
		return errors.Join(err, replaceFiles(dir, files, err))
	case volume.DownwardAPI != nil:
		files, err := v.downward(volume.DownwardAPI.Items)
		return errors.Join(err, replaceFiles(dir, files, err))
	case volume.Projected != nil:
		files, err := v.projected(ctx, dir, volume.Projected.Sources)
		return errors.Join(err, replaceFiles(dir, files, err))
	default:
		return errors.New("of a kind that a local node does not have: use a Secret, ConfigMap, projected, downwardAPI or emptyDir volume")
	}
}

func (v *volumes) projected(ctx context.Context, dir string, sources []corev1.VolumeProjection) (map[string]string, error) {
	all := map[string]string{}
	for _, source := range sources {
		var files map[string]string
		var err error
		switch {
		case source.Secret != nil:
			files, err = v.secret(ctx, source.Secret.Name, source.Secret.Items, source.Secret.Optional)
		case source.ConfigMap != nil:
			files, err = v.configMap(ctx, source.ConfigMap.Name, source.ConfigMap.Items, source.ConfigMap.Optional)
		case source.DownwardAPI != nil:
			files, err = v.downward(source.DownwardAPI.Items)
		case source.ServiceAccountToken != nil:
			files, err = v.token(ctx, dir, *source.ServiceAccountToken)
		default:
			err = errors.New("a projected source of a kind that a local node does not have")
		}
		if err != nil {
			return nil, err
		}
		for name, content := range files {
			all[name] = content
		}
	}
	return all, nil
}

func (v *volumes) secret(ctx context.Context, name string, items []corev1.KeyToPath, optional *bool) (map[string]string, error) {
	secret, err := v.pod.node.client.CoreV1().Secrets(v.pod.key.Namespace).Get(ctx, name, metav1.GetOptions{})
	if apierrors.IsNotFound(err) && isTrue(optional) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	data := map[string]string{}
	for key, value := range secret.Data {
		data[key] = string(value)
	}
	return pick(data, items, "Secret "+name, isTrue(optional))
}

func (v *volumes) configMap(ctx context.Context, name string, items []corev1.KeyToPath, optional *bool) (map[string]string, error) {
	configMap, err := v.pod.node.client.CoreV1().ConfigMaps(v.pod.key.Namespace).Get(ctx, name, metav1.GetOptions{})
	if apierrors.IsNotFound(err) && isTrue(optional) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	data := map[string]string{}
	for key, value := range configMap.Data {
		data[key] = value
	}
	for key, value := range configMap.BinaryData {
		data[key] = string(value)
	}
	return pick(data, items, "ConfigMap "+name, isTrue(optional))
}

// pick returns file → content for the chosen keys, all of them if none is chosen.
func pick(data map[string]string, items []corev1.KeyToPath, from string, optional bool) (map[string]string, error) {
	if len(items) == 0 {
		return data, nil
	}
	files := map[string]string{}
	for _, item := range items {
		content, ok := data[item.Key]
		if !ok && optional {
			continue
		}
		if !ok {
			return nil, fmt.Errorf("%s has no key %q", from, item.Key)
		}
		files[item.Path] = content
	}
	return files, nil
}

func (v *volumes) downward(items []corev1.DownwardAPIVolumeFile) (map[string]string, error) {
	files := map[string]string{}
	for _, item := range items {
		if item.FieldRef == nil {
			return nil, fmt.Errorf("file %s: only fieldRef is known to a local node", item.Path)
		}
		content, err := v.pod.field(item.FieldRef.FieldPath)
		if err != nil {
			return nil, fmt.Errorf("file %s: %w", item.Path, err)
		}
		files[item.Path] = content
	}
	return files, nil
}

// token asks for a token of the pod's ServiceAccount, bound to the pod, and keeps it until 80 percent of its life.
func (v *volumes) token(ctx context.Context, dir string, source corev1.ServiceAccountTokenProjection) (map[string]string, error) {
	file := filepath.Join(dir, source.Path)
	if due, ok := v.tokens[file]; ok && time.Now().Before(due) {
		content, err := os.ReadFile(file)
		if err == nil {
			return map[string]string{source.Path: string(content)}, nil
		}
	}
	request := &authenticationv1.TokenRequest{Spec: authenticationv1.TokenRequestSpec{
		ExpirationSeconds: source.ExpirationSeconds,
		BoundObjectRef:    &authenticationv1.BoundObjectReference{APIVersion: "v1", Kind: "Pod", Name: v.pod.key.Name, UID: v.pod.uid},
	}}
	if source.Audience != "" {
		request.Spec.Audiences = []string{source.Audience}
	}
	account := v.pod.spec().ServiceAccountName
	asked := time.Now()
	answer, err := v.pod.node.client.CoreV1().ServiceAccounts(v.pod.key.Namespace).CreateToken(ctx, account, request, metav1.CreateOptions{})
	if err != nil {
		return nil, fmt.Errorf("token of ServiceAccount %s: %w", account, err)
	}
	life := answer.Status.ExpirationTimestamp.Sub(asked)
	v.tokens[file] = asked.Add(life * 8 / 10)
	return map[string]string{source.Path: answer.Status.Token}, nil
}

// replaceFiles makes the folder hold exactly these files; each appears whole. It does nothing after an earlier error.
func replaceFiles(dir string, files map[string]string, earlier error) error {
	if earlier != nil {
		return nil
	}
	for name, content := range files {
		path := filepath.Join(dir, name)
		if old, err := os.ReadFile(path); err == nil && string(old) == content {
			continue
		}
		if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
			return err
		}
		if err := os.WriteFile(path+".new", []byte(content), 0o600); err != nil {
			return err
		}
		if err := os.Rename(path+".new", path); err != nil {
			return err
		}
	}
	return filepath.WalkDir(dir, func(path string, entry os.DirEntry, err error) error {
		if err != nil || entry.IsDir() {
			return err
		}
		name, err := filepath.Rel(dir, path)
		if err != nil {
			return err
		}
		if _, wanted := files[name]; wanted {
			return nil
		}
		return os.Remove(path)
	})
}

// place returns the local path for a path inside a container: the same text with every mountPath replaced by the folder
// of its volume. A mountPath is replaced only as a whole path or as the beginning of a longer one.
func (v *volumes) place(container corev1.Container, text string) string {
	mounts := slices.Clone(container.VolumeMounts)
	sort.Slice(mounts, func(i, j int) bool { return len(mounts[i].MountPath) > len(mounts[j].MountPath) })
	var b strings.Builder
	for at := 0; at < len(text); {
		mount, ok := mountAt(mounts, text, at)
		if !ok {
			b.WriteByte(text[at])
			at++
			continue
		}
		b.WriteString(filepath.Join(v.path(mount.Name), mount.SubPath))
		at += len(strings.TrimSuffix(mount.MountPath, "/"))
	}
	return b.String()
}

func mountAt(mounts []corev1.VolumeMount, text string, at int) (corev1.VolumeMount, bool) {
	if text[at] != '/' || at > 0 && isPathByte(text[at-1]) {
		return corev1.VolumeMount{}, false
	}
	for _, mount := range mounts {
		path := strings.TrimSuffix(mount.MountPath, "/")
		rest, ok := strings.CutPrefix(text[at:], path)
		if ok && path != "" && (rest == "" || rest[0] == '/' || !isPathByte(rest[0])) {
			return mount, true
		}
	}
	return corev1.VolumeMount{}, false
}

func isPathByte(c byte) bool {
	return c == '/' || c == '.' || c == '-' || c == '_' || c >= '0' && c <= '9' || c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z'
}

// kubeconfig writes a kubeconfig in place of in-cluster access for a container that mounts a token, and returns its path; "" for
// a container without one.
func (v *volumes) kubeconfig(container corev1.Container) (string, error) {
	at := slices.IndexFunc(container.VolumeMounts, func(m corev1.VolumeMount) bool { return m.MountPath == tokenPath })
	if at < 0 {
		return "", nil
	}
	config := v.pod.node.options.Config
	authority := config.CAData
	if len(authority) == 0 && config.CAFile != "" {
		var err error
		if authority, err = os.ReadFile(config.CAFile); err != nil {
			return "", err
		}
	}
	cluster := map[string]any{"server": cmp.Or(v.pod.node.options.APIServer, config.Host)}
	if len(authority) > 0 {
		cluster["certificate-authority-data"] = authority // []byte: JSON writes base64, as kubeconfig wants it
	}
	text, err := json.MarshalIndent(map[string]any{
		"apiVersion": "v1", "kind": "Config", "current-context": "pod",
		"clusters": []any{map[string]any{"name": "cluster", "cluster": cluster}},
		"users":    []any{map[string]any{"name": "pod", "user": map[string]any{"tokenFile": filepath.Join(v.path(container.VolumeMounts[at].Name), "token")}}},
		"contexts": []any{map[string]any{"name": "pod", "context": map[string]any{"cluster": "cluster", "user": "pod", "namespace": v.pod.key.Namespace}}},
	}, "", "  ")
	if err != nil {
		return "", err
	}
	path := filepath.Join(v.pod.dir, container.Name+".kubeconfig")
	return path, os.WriteFile(path, text, 0o600)
}

func isTrue(value *bool) bool { return value != nil && *value }
