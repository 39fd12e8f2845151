// SPDX-License-Identifier: Apache-2.0

package cli

import (
	"cmp"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"github.com/go-logr/logr"
	"github.com/spf13/pflag"
	"k8s.io/cli-runtime/pkg/genericclioptions"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"
	"k8s.io/utils/ptr"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/log"

	"outrigger.dev/outrigger/internal/diagnose"
)

// kubeFlags are kubectl's flags for the connection to a cluster, with the same meaning. The zero value is kubectl without flags.
type kubeFlags struct {
	config         *genericclioptions.ConfigFlags
	set            *pflag.FlagSet // nil for a command without them
	requestTimeout time.Duration  // of each request that is not a watch; zero for none
}

// rareKubeFlags are accepted but not listed in the help of every command.
var rareKubeFlags = []string{
	"as-uid", "as-user-extra", "cache-dir", "certificate-authority", "client-certificate", "client-key", "disable-compression",
	"insecure-skip-tls-verify", "server", "tls-server-name", "token",
}

func (k *kubeFlags) flags() *genericclioptions.ConfigFlags {
	if k.config == nil {
		k.config = genericclioptions.NewConfigFlags(true)
		k.config.WrapConfigFn = k.wrap
	}
	return k.config
}

// wrap returns a connection to the cluster with the timeout, and with errors that name the cluster. kubectl's libraries call it, so that it
// applies to all clients: those of live, and those that find an object by the name of its kind.
func (k *kubeFlags) wrap(cluster *rest.Config) *rest.Config {
	cluster = rest.CopyConfig(cluster)
	markUnreachable(cluster, k.selecting())
	if k.requestTimeout > 0 {
		limitRequests(cluster, k.requestTimeout)
	}
	return cluster
}

// register adds the flags. Without namespaced, it omits -n, because the command does not use it or gives it another meaning.
func (k *kubeFlags) register(flags *pflag.FlagSet, namespaced bool) {
	config := k.flags()
	if !namespaced {
		config.Namespace = nil
	}
	config.AddFlags(flags)
	k.set = flags
	flags.Lookup("kubeconfig").Usage = "kubeconfig file (default: as kubectl finds it)"
	flags.Lookup("context").Usage = "context of the kubeconfig (default: the current one)"
	if namespaced {
		flags.Lookup("namespace").Usage = "namespace (default: that of the kubeconfig's context)"
	}
	for _, name := range rareKubeFlags {
		_ = flags.MarkHidden(name) // it fails only for an unknown flag
	}
}

// namespace returns the value of -n; empty without one.
func (k *kubeFlags) namespace() string { return ptr.Deref(k.flags().Namespace, "") }

// context returns the name of the kubeconfig's context; empty if there is none.
func (k *kubeFlags) context() string {
	raw, err := k.loading().RawConfig()
	if err != nil {
		return ""
	}
	return cmp.Or(ptr.Deref(k.flags().Context, ""), raw.CurrentContext)
}

// selectingFlags are the flags that select the cluster and the user, except token: pages show commands with these flags. The value is true
// for a flag that names a file.
var selectingFlags = map[string]bool{
	"as": false, "as-group": false, "as-uid": false, "certificate-authority": true, "client-certificate": true, "client-key": true, "cluster": false, "context": false,
	"insecure-skip-tls-verify": false, "kubeconfig": true, "server": false, "tls-server-name": false, "user": false,
}

// selecting returns the given flags that select the cluster and the user, for commands that the user copies. File names are absolute paths,
// so that the commands work in any directory.
func (k *kubeFlags) selecting() diagnose.ClusterFlags {
	if k.set == nil {
		return nil
	}
	return clusterFlagsOf(k.set)
}

// clusterFlagsOf returns the given flags of a command that select the cluster and the user; nil for a command without kubectl's flags.
func clusterFlagsOf(set *pflag.FlagSet) diagnose.ClusterFlags {
	var out diagnose.ClusterFlags
	if set.Lookup("context") == nil {
		return nil
	}
	set.Visit(func(flag *pflag.Flag) {
		isFile, selects := selectingFlags[flag.Name]
		values := []string{flag.Value.String()}
		if list, is := flag.Value.(pflag.SliceValue); is {
			values = list.GetSlice()
		}
		for _, value := range values {
			if !selects || value == "" {
				continue
			}
			if path, err := filepath.Abs(value); isFile && err == nil {
				value = path
			}
			out = append(out, diagnose.ClusterFlag{Name: flag.Name, Value: value})
		}
	})
	return out
}

func (k *kubeFlags) loading() clientcmd.ClientConfig { return k.flags().ToRawKubeConfigLoader() }

// errNoCluster means that neither a flag, a file, the environment, nor a pod's account names a cluster.
var errNoCluster = errors.New("no cluster: no kubeconfig was found; name one with --kubeconfig or KUBECONFIG")

// check validates the flags that do not depend on a kubeconfig.
func (k *kubeFlags) check() error {
	timeout := ptr.Deref(k.flags().Timeout, "")
	if _, err := clientcmd.ParseTimeout(timeout); timeout != "" && err != nil {
		return usagef("--request-timeout=%s: expected a duration, e.g. 30s or 2m; 0 means no timeout", timeout)
	}
	return nil
}

// rest returns the connection to the cluster. It returns errNoCluster where kubectl would try localhost:8080.
func (k *kubeFlags) rest() (*rest.Config, error) {
	if err := k.check(); err != nil {
		return nil, err
	}
	raw, err := k.loading().RawConfig()
	if err != nil {
		return nil, fmt.Errorf("kubeconfig: %w", err)
	}
	named := len(raw.Clusters) > 0 || ptr.Deref(k.flags().APIServer, "") != "" || os.Getenv("KUBERNETES_MASTER") != ""
	if _, err := rest.InClusterConfig(); err != nil && !named {
		return nil, errNoCluster
	}
	cluster, err := k.flags().ToRESTConfig()
	if errors.Is(err, genericclioptions.ErrEmptyConfig) {
		return nil, errNoCluster
	}
	if err != nil {
		return nil, fmt.Errorf("kubeconfig: %w", err)
	}
	cluster.UserAgent = "outrigger/" + version
	return cluster, nil
}

// connect returns a client of the cluster, and the namespace of -n or else of the context.
func (k *kubeFlags) connect(prepare func(*rest.Config)) (client.Client, string, error) {
	cluster, err := k.rest()
	if err != nil {
		return nil, "", err
	}
	cluster.QPS = -1 // the API server's priority and fairness is the limit
	prepare(cluster)
	namespace, _, err := k.loading().Namespace()
	if err != nil {
		return nil, "", fmt.Errorf("kubeconfig: %w", err)
	}
	scheme, err := liveScheme()
	if err != nil {
		return nil, "", err
	}
	log.SetLogger(logr.Discard()) // commands report their errors themselves; without a logger, the library prints a stack trace
	web, err := rest.HTTPClientFor(cluster)
	if err != nil {
		return nil, "", fmt.Errorf("reach the cluster: %w", err)
	}
	mapper, err := newMapper(cluster, web)
	if err != nil {
		return nil, "", fmt.Errorf("reach the cluster: %w", err)
	}
	out, err := client.NewWithWatch(cluster, client.Options{Scheme: scheme, HTTPClient: web, Mapper: mapper})
	if err != nil {
		return nil, "", fmt.Errorf("reach the cluster: %w", err)
	}
	return out, namespace, nil
}
