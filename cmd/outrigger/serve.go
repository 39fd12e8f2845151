// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/signal"
	"strconv"
	"syscall"

	"github.com/go-logr/logr"
	"github.com/spf13/cobra"
	"k8s.io/client-go/kubernetes"
	"k8s.io/klog/v2"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/metrics"

	"outrigger.dev/outrigger/api"
	"outrigger.dev/outrigger/internal/cli"
	"outrigger.dev/outrigger/internal/process"
	"outrigger.dev/outrigger/routing/controller"
	"outrigger.dev/outrigger/webhook"
)

func serveCommand() *cobra.Command {
	var configFile string
	var where placement
	command := &cobra.Command{
		Use:   "serve",
		Short: "Serve the webhook and manage the routes; the Helm chart runs this",
		Long: `Runs two jobs in one process: the webhook that injects sidecars, on every replica, and the controller that manages the
routes, on the leader.

All settings are in one file and have defaults. With an unknown field or an invalid value, the process does not start. It also
serves /healthz, /readyz, and /metrics. After SIGTERM, readiness fails at once, and the webhook responds for shutdown.linger.`,
		Example: `  # In a pod
  outrigger serve --config /etc/outrigger/config.yaml

  # On your machine, with the cluster of a kubeconfig, in which the chart is installed
  outrigger serve --config config.yaml --kubeconfig ~/.kube/config --namespace outrigger-system --address 127.0.0.1`,
		Args: cli.NoArguments,
		RunE: func(command *cobra.Command, _ []string) error {
			config, err := cli.ReadConfig(configFile)
			if err != nil {
				return err
			}
			ctx, stop := signal.NotifyContext(command.Context(), os.Interrupt, syscall.SIGTERM)
			defer stop()
			context.AfterFunc(ctx, stop) // the second signal ends the process at once
			logger := process.NewLog(config.Log, command.ErrOrStderr())
			ctrl.SetLogger(logger)
			klog.SetLogger(logger)
			where.configFile = configFile
			p, err := newProcess(config, where, logger)
			if err != nil {
				return err
			}
			return p.Run(ctx)
		},
	}
	flags := command.Flags()
	flags.StringVar(&configFile, "config", "", "configuration file (default: all settings have their defaults)")
	flags.StringVar(&where.kubeconfig, "kubeconfig", "", "kubeconfig file (default: KUBECONFIG, or else the pod's ServiceAccount)")
	flags.StringVar(&where.namespace, "namespace", os.Getenv("POD_NAMESPACE"), "namespace of Outrigger's Secret, ConfigMap, and Lease (default: POD_NAMESPACE)")
	flags.StringVar(&where.configMap, "config-map", os.Getenv("CONFIG_MAP"), "name of the ConfigMap that is mounted as --config, in --namespace; a change of routing.freeze in it takes effect at once (default: CONFIG_MAP)")
	flags.StringVar(&where.address, "address", "", "address to listen on, instead of the host in each address of the configuration (default: all addresses)")
	return command
}

// placement holds the flags that depend on where the process runs.
type placement struct {
	kubeconfig, namespace, address, configFile, configMap string
}

// configSources returns where the running process follows its configuration. Only routing has a field that can change.
func (p placement) configSources(config api.Config, client kubernetes.Interface) process.ConfigSources {
	out := process.ConfigSources{File: p.configFile}
	if p.configMap != "" && config.Routing.Enabled {
		out.ConfigMap, out.ConfigMaps = p.configMap, client.CoreV1().ConfigMaps(p.namespace)
	}
	return out
}

// newProcess creates all parts and connects them. It opens the ports and starts nothing.
func newProcess(config api.Config, where placement, logger logr.Logger) (*process.Process, error) {
	if where.namespace == "" {
		return nil, errors.New("--namespace and POD_NAMESPACE are empty: set the namespace of Outrigger's Secret, ConfigMap, and Lease. Example: --namespace outrigger-system")
	}
	cluster, err := process.RESTConfig(where.kubeconfig, version, config.APIServer)
	if err != nil {
		return nil, err
	}
	client, err := kubernetes.NewForConfig(cluster)
	if err != nil {
		return nil, err
	}
	shared, err := process.NewCluster(cluster, config, logger)
	if err != nil {
		return nil, fmt.Errorf("caches: %w", err)
	}
	events := &webhook.Events{Client: client, Instance: process.Instance()}
	keeper, err := certificates(cluster, config, client, where, events, logger)
	if err != nil {
		return nil, err
	}
	tracing, err := process.NewTracing(os.Getenv, process.Identity{Version: version, Namespace: where.namespace, Pod: process.Instance()}, logger.WithName("traces"))
	if err != nil {
		return nil, err
	}
	answers, err := injector(cluster, config, where.namespace, shared, events, tracing.Tracer(), logger)
	if err != nil {
		return nil, err
	}
	// Every replica has its certificate and Istio's configuration; only the leader manages routes and counts pods.
	freeze := controller.NewFreeze(config.Routing.Freeze)
	leader, err := leadersJobs(cluster, shared, answers.istio, config, where.namespace, freeze, logger)
	if err != nil {
		return nil, err
	}
	ready := &process.Readiness{Checks: []process.ReadyCheck{
		{Name: "certificate", Check: func() error { return keeper.Ready(nil) }},
		{Name: "caches", Check: func() error { return process.Synced(shared) }},
		{Name: "configuration", Check: func() error { _, err := answers.istio.Current(); return err }},
	}}
	follower := process.FollowFreeze(where.configSources(config, client), freeze.Set, logger.WithName("configuration"))
	jobs := process.Above(shared, keeper, answers.istio, answers.owners, process.After(follower.Looked(), leader), follower)
	p := &process.Process{Log: logger, Ready: ready, Jobs: jobs.Start, Linger: config.Shutdown.Linger, Flush: tracing.Flush()}
	webhookAddress := where.at(net.JoinHostPort("", strconv.Itoa(config.Webhook.Port)))
	if p.Webhook, err = process.Listen("webhook", webhookAddress, process.KnownCallers(config.Webhook, answers.handler), process.TLSConfig(config.Webhook, keeper.GetCertificate)); err != nil {
		return nil, err
	}
	for _, plain := range []struct {
		name, address string
		handler       http.Handler
	}{
		{"health", config.Health.Address, process.HealthHandler(ready)},
		{"metrics", config.Metrics.Address, process.MetricsHandler(metrics.Registry, logger)},
	} {
		if plain.address == "0" {
			continue
		}
		e, err := process.Listen(plain.name, where.at(plain.address), plain.handler, nil)
		if err != nil {
			return nil, err
		}
		p.Others = append(p.Others, e)
	}
	return p, nil
}

// at returns an address of the configuration, with the host of --address.
func (p placement) at(address string) string {
	if p.address == "" {
		return address
	}
	_, port, err := net.SplitHostPort(address)
	if err != nil {
		return address // "0" switches the endpoint off
	}
	return net.JoinHostPort(p.address, port)
}
