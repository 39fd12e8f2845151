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
	"time"

	"github.com/go-logr/logr"
	"github.com/spf13/cobra"
	"k8s.io/client-go/kubernetes"
	"k8s.io/klog/v2"
	ctrl "sigs.k8s.io/controller-runtime"
	ctrlcluster "sigs.k8s.io/controller-runtime/pkg/cluster"
	"sigs.k8s.io/controller-runtime/pkg/metrics"

	"outrigger.dev/outrigger/api"
	"outrigger.dev/outrigger/internal/cli"
	"outrigger.dev/outrigger/internal/process"
	"outrigger.dev/outrigger/webhook"
)

func serveCommand() *cobra.Command {
	var configFile string
	var where placement
	command := &cobra.Command{
		Use:   "serve",
		Short: "Serve the webhook and keep the routes; what the Helm chart runs",
		Long: `Runs both jobs in one process: the webhook that injects sidecars, on every replica, and the controller that keeps the
routes, on the one replica that leads.

Its settings are in one file; an unknown field or a bad value stops the start. All have defaults. Besides the webhook it
serves /healthz, /readyz and /metrics. After SIGTERM readiness fails at once, and it serves on for shutdown.linger.`,
		Example: `  # In a pod
  outrigger serve --config /etc/outrigger/config.yaml

  # As a process of this machine, against the cluster of a kubeconfig, in which the chart is installed
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
			p, err := newProcess(config, where, logger)
			if err != nil {
				return err
			}
			return p.Run(ctx)
		},
	}
	flags := command.Flags()
	flags.StringVar(&configFile, "config", "", "configuration file (default: all settings have their defaults)")
	flags.StringVar(&where.kubeconfig, "kubeconfig", "", "kubeconfig file (default: KUBECONFIG, else the pod's account)")
	flags.StringVar(&where.namespace, "namespace", os.Getenv("POD_NAMESPACE"), "namespace of our own Secret, ConfigMap and Lease (default: POD_NAMESPACE)")
	flags.StringVar(&where.address, "address", "", "address to listen on, in place of the host of every address of the configuration (default: all)")
	return command
}

// placement is what depends on where the process runs.
type placement struct {
	kubeconfig, namespace, address string
}

// newProcess makes all parts and joins them; nothing runs yet but open ports.
func newProcess(config api.Config, where placement, logger logr.Logger) (*process.Process, error) {
	if where.namespace == "" {
		return nil, errors.New("--namespace is empty and so is POD_NAMESPACE: the namespace of our Secret, ConfigMap and Lease must be given")
	}
	cluster, err := restConfig(where.kubeconfig, config.APIServer)
	if err != nil {
		return nil, err
	}
	client, err := kubernetes.NewForConfig(cluster)
	if err != nil {
		return nil, err
	}
	shared, err := newCluster(cluster, config, logger)
	if err != nil {
		return nil, fmt.Errorf("caches: %w", err)
	}
	events := &webhook.Events{Client: client, Instance: instance()}
	keeper, err := certificates(cluster, config, client, where, events, logger)
	if err != nil {
		return nil, err
	}
	tracing, err := process.NewTracing(os.Getenv, process.Identity{Version: version, Namespace: where.namespace, Pod: instance()}, logger.WithName("traces"))
	if err != nil {
		return nil, err
	}
	answers, err := injector(cluster, config, where.namespace, shared, events, tracing.Tracer(), logger)
	if err != nil {
		return nil, err
	}
	// Every replica keeps its certificate and Istio's configuration; routes and the count of pods are the leader's alone.
	leader, err := leadersJobs(cluster, shared, answers.istio, config, where.namespace, logger)
	if err != nil {
		return nil, err
	}
	ready := &process.Readiness{Checks: []process.ReadyCheck{
		{Name: "certificate", Check: func() error { return keeper.Ready(nil) }},
		{Name: "caches", Check: func() error { return synced(shared) }},
		{Name: "configuration", Check: func() error { _, err := answers.istio.Current(); return err }},
	}}
	jobs := process.Above(shared, keeper, answers.istio, answers.owners, leader)
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

// instance is the name under which this process reports: its pod's, else its host's.
func instance() string {
	if name := os.Getenv("POD_NAME"); name != "" {
		return name
	}
	name, err := os.Hostname()
	if err != nil {
		return api.Outrigger // an Event must name somebody
	}
	return name
}

// at returns an address of the configuration with the host that the command line wants.
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

// synced returns nil when the caches of all kinds that were asked for at the start are complete.
func synced(shared ctrlcluster.Cluster) error {
	ctx, cancel := context.WithTimeout(context.Background(), 100*time.Millisecond)
	defer cancel()
	if !shared.GetCache().WaitForCacheSync(ctx) {
		return errors.New("not complete yet")
	}
	return nil
}
