// SPDX-License-Identifier: Apache-2.0

package scenarios

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"

	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"
)

// Cluster is the cluster of the current kubeconfig context, and the commands that a user types there.
type Cluster struct {
	Context  string // name of the kubeconfig context
	Client   kubernetes.Interface
	Objects  dynamic.Interface
	Gateway  Gateway
	App      string // image of the application without its tag
	Image    string // image of Outrigger; empty for the chart's own
	Root     string // folder of the repository
	Run      string // value of the label of everything that this run creates
	TempDir  string
	Operator bool // whether scenarios may disrupt others

	environment []string
}

// Gateway is the ingress gateway, reached by the node ports of its Service.
type Gateway struct {
	Namespace, Service string
	Node               string // address of a node
	HTTP, HTTPS        int32  // node ports of the ports 80 and 443
}

// runLabel is the label of the namespaces that the scenarios create.
const runLabel = "outrigger.dev/traffic-test"

// patience is how long a scenario waits for an effect.
const patience = 2 * time.Minute

// connect finds the cluster, and what the scenarios need of it.
func connect(ctx context.Context, root, tempDir string) (*Cluster, error) {
	c := &Cluster{Root: root, TempDir: tempDir, Image: os.Getenv("E2E_IMAGE"), App: os.Getenv("E2E_APP"), Run: fmt.Sprintf("%x", time.Now().UnixMilli())}
	for _, program := range []string{"kubectl", "helm"} {
		if _, err := exec.LookPath(program); err != nil {
			return nil, fmt.Errorf("%s is not on the PATH", program)
		}
	}
	loader := clientcmd.NewNonInteractiveDeferredLoadingClientConfig(clientcmd.NewDefaultClientConfigLoadingRules(), nil)
	raw, err := loader.RawConfig()
	if err != nil {
		return nil, err
	}
	c.Context = raw.CurrentContext
	config, err := loader.ClientConfig()
	if err != nil {
		return nil, fmt.Errorf("there is no cluster: %w", err)
	}
	if wanted := os.Getenv("E2E_DISRUPTIVE"); wanted != "" {
		if wanted != c.Context {
			return nil, fmt.Errorf("E2E_DISRUPTIVE=%s, but the current context is %q; nothing was changed", wanted, c.Context)
		}
		c.Operator = true
	}
	if err := c.pin(ctx); err != nil {
		return nil, err
	}
	config.QPS, config.Burst = 200, 400
	if err := c.clients(config); err != nil {
		return nil, err
	}
	if _, err := c.Client.Discovery().ServerVersion(); err != nil {
		return nil, fmt.Errorf("the cluster of context %q does not answer: %w", c.Context, err)
	}
	return c, c.findGateway(ctx)
}

// pin keeps the cluster although the user changes the current context while the scenarios run.
func (c *Cluster) pin(ctx context.Context) error {
	text, err := c.Command(ctx, nil, "kubectl", "config", "view", "--minify", "--flatten", "--raw")
	if err != nil {
		return err
	}
	file := filepath.Join(c.TempDir, "kubeconfig")
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		return err
	}
	path := filepath.Join(c.Root, "bin") + string(os.PathListSeparator) + os.Getenv("PATH")
	c.environment = append(os.Environ(), "KUBECONFIG="+file, "PATH="+path)
	return nil
}

func (c *Cluster) clients(config *rest.Config) (err error) {
	if c.Client, err = kubernetes.NewForConfig(config); err != nil {
		return err
	}
	c.Objects, err = dynamic.NewForConfig(config)
	return err
}

// Command runs a program, as a user would type it, and returns what it prints. An error contains the command and its output.
func (c *Cluster) Command(ctx context.Context, stdin []byte, name string, args ...string) (string, error) {
	command := c.command(ctx, name, args...)
	var out, all bytes.Buffer
	command.Stdout, command.Stderr = &out, &all
	if stdin != nil {
		command.Stdin = bytes.NewReader(stdin)
	}
	if err := command.Run(); err != nil {
		return out.String(), fmt.Errorf("%s %s: %w\n%s%s", name, strings.Join(args, " "), err, out.String(), all.String())
	}
	return out.String(), nil
}

func (c *Cluster) command(ctx context.Context, name string, args ...string) *exec.Cmd {
	if name == "outrigger" {
		name = filepath.Join(c.Root, "bin", name)
	}
	command := exec.CommandContext(ctx, name, args...)
	command.Env, command.Dir = c.environment, c.Root
	// A signal from the terminal ends the scenarios, and they end their commands.
	detach(command)
	command.WaitDelay = 10 * time.Second
	return command
}

// findGateway finds the Service of the ingress gateway by the pods that it selects, and a node's address.
func (c *Cluster) findGateway(ctx context.Context) error {
	services, err := c.Command(ctx, nil, "kubectl", "get", "services", "-A", "-l", "istio=ingressgateway", "-o",
		`jsonpath={range .items[*]}{.metadata.namespace} {.metadata.name} {.spec.ports[?(@.port==80)].nodePort} {.spec.ports[?(@.port==443)].nodePort}{"\n"}{end}`)
	if err != nil {
		return err
	}
	line, _, _ := strings.Cut(services, "\n")
	g := &c.Gateway
	if n, err := fmt.Sscan(line, &g.Namespace, &g.Service, &g.HTTP, &g.HTTPS); n < 3 {
		return fmt.Errorf("no Service with the label istio=ingressgateway has node ports for its ports 80 and 443, as Istio's ingress gateway with type NodePort or LoadBalancer has: %w", err)
	}
	if g.Node = os.Getenv("E2E_NODE"); g.Node != "" {
		return nil
	}
	address, err := c.Command(ctx, nil, "kubectl", "get", "nodes", "-o", `jsonpath={.items[0].status.addresses[?(@.type=="InternalIP")].address}`)
	if err != nil {
		return err
	}
	g.Node, _, _ = strings.Cut(address, " ")
	return nil
}

// URL returns the URL of a path at the node port of the gateway.
func (g Gateway) URL(path string) string { return fmt.Sprintf("http://%s:%d%s", g.Node, g.HTTP, path) }
