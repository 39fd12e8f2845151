// SPDX-License-Identifier: Apache-2.0

// Package install installs Outrigger's chart with Helm on a running control plane, its pods being real processes on a
// local node behind a balancer. Tests and the demo share it; there is no other way in which either installs Outrigger.
package install

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/kubernetes"
	"outrigger.dev/outrigger/hack/chart"
	"outrigger.dev/outrigger/hack/controlplane"
	"outrigger.dev/outrigger/hack/localnode"
	"sigs.k8s.io/yaml"
)

// The image of the chart's pods. On the local node, it is the binary.
const (
	repository = "outrigger.dev/outrigger"
	tag        = "local"
)

// Options say what differs from "helm install outrigger charts/outrigger -n outrigger-system --create-namespace".
type Options struct {
	Namespace string         // "outrigger-system" if empty
	Release   string         // "outrigger" if empty
	Values    map[string]any // values of the chart over those that the local node needs; nested as in values.yaml
	// Binary is the path of the outrigger binary; built from this repository if empty.
	Binary string
	// Images are more that the node can run, by their names: tag → path of a binary.
	Images map[string]string
	// Node runs the pods; one is started if nil, and closed by Close. A second release on a control plane passes the
	// first one's.
	Node *localnode.Node
	// APIServer is the URL by which the pods reach the API server; the control plane's own if empty. It is the started
	// node's: with Node set it means nothing.
	APIServer string
	Timeout   time.Duration // how long Helm waits for the pods; 2 minutes if 0
	Log       io.Writer     // what the node does, line by line; nil discards it
}

// Installed is a release of Outrigger, or one about to be installed.
type Installed struct {
	Namespace, Release string
	Root               string              // the folder of this repository
	Binary             string              // the outrigger binary that the pods run; also the command line
	ValuesFile         string              // what HelmArgs passes with -f
	Values             map[string]any      // its content
	Node               *localnode.Node     // runs the pods
	Webhook            *localnode.Balancer // listens at webhook.url

	plane   *controlplane.ControlPlane
	timeout time.Duration
	dir     string
	ownNode bool
}

// Outrigger prepares and installs a release and returns when Helm has seen its pods Ready. An error of Helm contains what
// the pods have logged. The caller closes what is returned, before it stops the control plane.
func Outrigger(ctx context.Context, plane *controlplane.ControlPlane, options Options) (*Installed, error) {
	installed, err := Prepare(ctx, plane, options)
	if err != nil {
		return nil, err
	}
	if _, err := plane.Helm(ctx, nil, installed.HelmArgs()...); err != nil {
		err = installed.Explain(err)
		installed.Close()
		return nil, err
	}
	return installed, nil
}

// Prepare starts what the release needs on this machine, so that "helm" with HelmArgs installs it.
func Prepare(ctx context.Context, plane *controlplane.ControlPlane, options Options) (_ *Installed, err error) {
	i := &Installed{Namespace: options.Namespace, Release: options.Release, Binary: options.Binary, Node: options.Node, plane: plane, timeout: options.Timeout}
	if i.Namespace == "" {
		i.Namespace = "outrigger-system"
	}
	if i.Release == "" {
		i.Release = "outrigger"
	}
	if i.timeout == 0 {
		i.timeout = 2 * time.Minute
	}
	defer func() {
		if err != nil {
			i.Close()
			err = fmt.Errorf("prepare the installation of %s: %w", i.Release, err)
		}
	}()
	if i.Root, err = Root(); err != nil {
		return nil, err
	}
	if i.dir, err = os.MkdirTemp(plane.Dir, "install-"); err != nil {
		return nil, err
	}
	if i.Binary == "" {
		if i.Binary, err = Build(ctx, i.dir); err != nil {
			return nil, err
		}
	}
	if i.Node == nil {
		i.ownNode = true
		images := map[string]string{repository + ":" + tag: i.Binary}
		for tag, binary := range options.Images {
			images[repository+":"+tag] = binary
		}
		// The node outlives ctx, which bounds the installation.
		i.Node, err = localnode.Start(context.WithoutCancel(ctx), localnode.Options{
			Config: plane.Config, APIServer: options.APIServer, KubeletVersion: controlplane.Kubernetes(),
			Images: images, Dir: i.dir, Log: options.Log,
		})
		if err != nil {
			return nil, err
		}
	}
	if i.Webhook, err = i.Node.Balance(types.NamespacedName{Namespace: i.Namespace, Name: i.service()}, "https-webhook"); err != nil {
		return nil, err
	}
	return i, i.writeValues(options.Values)
}

// HelmArgs returns the arguments of the helm command that installs the release; "upgrade --install" in place of
// "install" changes it.
func (i *Installed) HelmArgs() []string {
	return []string{"install", i.Release, filepath.Join(i.Root, "charts", "outrigger"), "-n", i.Namespace, "--create-namespace", "-f", i.ValuesFile, "--wait", "--timeout", i.timeout.String()}
}

// Upgrade changes the release to these values, over those that the local node needs, and waits for its pods.
func (i *Installed) Upgrade(ctx context.Context, values map[string]any) error {
	if err := i.writeValues(values); err != nil {
		return err
	}
	args := append([]string{"upgrade", "--install"}, i.HelmArgs()[1:]...)
	if _, err := i.plane.Helm(ctx, nil, args...); err != nil {
		return i.Explain(err)
	}
	return nil
}

// Uninstall removes the release and waits until its pods are gone.
func (i *Installed) Uninstall(ctx context.Context) error {
	if _, err := i.plane.Helm(ctx, nil, "uninstall", i.Release, "-n", i.Namespace, "--wait", "--timeout", i.timeout.String()); err != nil {
		return err
	}
	// Helm waits for the Deployment only, and its pods linger. Those of "helm test" stay, as Helm's users expect.
	_, err := i.plane.Kubectl(ctx, nil, "wait", "--for=delete", "pod", "-l", "app.kubernetes.io/name=outrigger,app.kubernetes.io/instance="+i.Release, "-n", i.Namespace, "--timeout=2m")
	return err
}

// Logs returns what all pods of the release have written, those that are gone included.
func (i *Installed) Logs() string { return i.Node.Logs(i.Namespace, i.service()+"-*") }

// Explain adds to an error what the pods of the release show and have written.
func (i *Installed) Explain(err error) error {
	client, clientErr := kubernetes.NewForConfig(i.plane.Config)
	if clientErr != nil {
		return errors.Join(err, clientErr)
	}
	pods, listErr := client.CoreV1().Pods(i.Namespace).List(context.Background(), metav1.ListOptions{})
	if listErr != nil {
		return errors.Join(err, listErr)
	}
	var b strings.Builder
	for _, pod := range pods.Items {
		fmt.Fprintf(&b, "pod %s is %s\n", pod.Name, pod.Status.Phase)
		for _, c := range pod.Status.ContainerStatuses {
			fmt.Fprintf(&b, "  container %s: ready %v, %d restarts%s\n", c.Name, c.Ready, c.RestartCount, stateText(c.State))
		}
	}
	return fmt.Errorf("%w\n%stheir logs end with\n%s", err, b.String(), lastLines(i.Logs(), 40))
}

// Close stops the processes of the release's node and its balancer. The objects in the API stay.
func (i *Installed) Close() {
	if i.Webhook != nil {
		i.Webhook.Close()
	}
	if i.ownNode && i.Node != nil {
		i.Node.Close()
	}
}

// Build builds the outrigger binary of this repository into a folder and returns its path.
func Build(ctx context.Context, dir string) (string, error) {
	root, err := Root()
	if err != nil {
		return "", err
	}
	return BuildFrom(ctx, root, dir)
}

// BuildFrom builds the outrigger binary of a source tree, such as an earlier state of this repository.
func BuildFrom(ctx context.Context, root, dir string) (string, error) {
	path := filepath.Join(dir, "outrigger")
	arguments := []string{"build", "-trimpath", "-o", path}
	if described := describe(ctx, root); described != "" {
		arguments = append(arguments, "-ldflags", "-X main.version="+described)
	}
	command := exec.CommandContext(ctx, "go", append(arguments, "./cmd/outrigger")...)
	command.Dir, command.Env = root, append(os.Environ(), "CGO_ENABLED=0")
	if out, err := command.CombinedOutput(); err != nil {
		return "", fmt.Errorf("build cmd/outrigger: %w\n%s", err, out)
	}
	return path, nil
}

// describe returns the version of a source tree, which may be an earlier state of this repository, as the Makefile determines
// it; empty if it cannot be determined.
func describe(ctx context.Context, root string) string {
	own, err := Root()
	if err != nil {
		return ""
	}
	out, err := exec.CommandContext(ctx, "sh", filepath.Join(own, "hack", "version.sh"), root).Output()
	if err != nil {
		return ""
	}
	return strings.TrimSpace(string(out))
}

// Root returns the folder of this repository: the nearest one above the working folder that holds the chart.
func Root() (string, error) { return chart.Root() }

// service is the name that the chart gives its Service and Deployment.
func (i *Installed) service() string {
	if strings.Contains(i.Release, "outrigger") {
		return i.Release
	}
	return i.Release + "-outrigger"
}

// writeValues writes what a local node needs of the chart, and what the caller wants over it.
func (i *Installed) writeValues(values map[string]any) error {
	local := map[string]any{
		"image":         map[string]any{"repository": repository, "tag": tag},
		"listenAddress": "$(POD_IP)",
		"webhook":       map[string]any{"url": "https://" + i.Webhook.Address() + "/inject"},
		"nodeSelector":  map[string]any{localnode.Mark: "true"},
		"tolerations":   []any{map[string]any{"key": localnode.Mark, "operator": string(corev1.TolerationOpExists)}},
	}
	i.Values = over(local, values)
	text, err := yaml.Marshal(i.Values)
	if err != nil {
		return err
	}
	i.ValuesFile = filepath.Join(i.dir, i.Release+"-values.yaml")
	return os.WriteFile(i.ValuesFile, text, 0o600)
}

// over returns base with the values of more over it, map by map, as Helm merges values.
func over(base, more map[string]any) map[string]any {
	out := map[string]any{}
	for key, value := range base {
		out[key] = value
	}
	for key, value := range more {
		below, isMap := out[key].(map[string]any)
		above, wantsMap := value.(map[string]any)
		if isMap && wantsMap {
			value = over(below, above)
		}
		out[key] = value
	}
	return out
}

func stateText(state corev1.ContainerState) string {
	switch {
	case state.Waiting != nil:
		return fmt.Sprintf(", waits: %s %s", state.Waiting.Reason, state.Waiting.Message)
	case state.Terminated != nil:
		return fmt.Sprintf(", ended with code %d", state.Terminated.ExitCode)
	default:
		return ""
	}
}

func lastLines(text string, count int) string {
	lines := slices.Collect(strings.Lines(text))
	return strings.Join(lines[max(0, len(lines)-count):], "")
}
