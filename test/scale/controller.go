// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"runtime"
	"runtime/pprof"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/go-logr/logr"
	networkingv1 "istio.io/client-go/pkg/apis/networking/v1"
	istioclient "istio.io/client-go/pkg/clientset/versioned"
	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	kruntime "k8s.io/apimachinery/pkg/runtime"
	"k8s.io/client-go/kubernetes"
	clientgoscheme "k8s.io/client-go/kubernetes/scheme"
	"k8s.io/client-go/metadata"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"
	"sigs.k8s.io/controller-runtime/pkg/cache"
	"sigs.k8s.io/controller-runtime/pkg/manager"
	"sigs.k8s.io/controller-runtime/pkg/metrics"
	metricsserver "sigs.k8s.io/controller-runtime/pkg/metrics/server"

	"outrigger.dev/outrigger/api"
	"outrigger.dev/outrigger/routing/controller"
	"outrigger.dev/outrigger/webhook"
)

// standbyLease is what a replica waits for that does not lead.
const standbyLease = "scale"

// reading is what a controller says of itself.
type reading struct {
	Reconciles, Writes int
	Kinds              map[string]int // writes by kind
	CPU                float64        // seconds, of user and system
	Counted, Covered   int            // pods that should have a sidecar, and those that have the right one
	Canaries           int            // that progress
	Evaluations        int            // of canaries
	LiveHeapMB         uint64
	ResidentMB, PeakMB uint64
}

// controllerOptions are those of a controller that is measured.
type controllerOptions struct {
	profiles   string // folder for profiles; empty for none
	metricsURL string // of the metrics server; empty for none
	delays     bool   // the default waiting times, instead of none
	standby    bool   // it does not lead
}

// beController keeps routes and counts sidecars as Outrigger does when it leads, and answers on a port, which it prints, how
// it is.
func beController(ctx context.Context, kubeconfig string, options controllerOptions) error {
	config, err := clientcmd.BuildConfigFromFlags("", kubeconfig)
	if err != nil {
		return err
	}
	config.QPS = -1
	scheme, err := newScheme()
	if err != nil {
		return err
	}
	jobs, err := manager.New(config, manager.Options{
		Scheme: scheme, Metrics: metricsserver.Options{BindAddress: "0"}, HealthProbeBindAddress: "0",
		Cache:          cache.Options{DefaultTransform: cache.TransformStripManagedFields()},
		LeaderElection: options.standby, LeaderElectionID: standbyLease, LeaderElectionNamespace: metav1.NamespaceDefault,
	})
	if err != nil {
		return err
	}
	file := api.DefaultConfig()
	file.Routing.Metrics.PrometheusURL = options.metricsURL
	canaries, err := controller.NewCanaryMetrics(file.Routing)
	if err != nil {
		return err
	}
	settings := file.RoutingSettings()
	settings.GatewayPorts = []string{"1-65535"} // no gateway runs here, so none has a Service with ports
	settings.SplitAge = 24 * time.Hour          // to fill the cluster takes longer than the default; that all is old is another case
	if !options.delays {
		settings.Settle, settings.PropagationDelay, settings.SubsetRetention = 0, 0, time.Second
	}
	routes := controller.New(controller.Options{Settings: settings, Registerer: metrics.Registry, Canaries: canaries})
	if err := errors.Join(routes.Prepare(jobs, jobs.GetLogger()), jobs.Add(routes)); err != nil {
		return err
	}
	if err := addCoverage(jobs, routes, config); err != nil {
		return err
	}
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	server := &http.Server{ReadHeaderTimeout: time.Minute, Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		now, err := readSelf(r.URL.Query().Has("gc"), options.profiles)
		if err != nil {
			http.Error(w, err.Error(), http.StatusInternalServerError)
			return
		}
		_ = json.NewEncoder(w).Encode(now)
	})}
	go func() { _ = server.Serve(listener) }()
	fmt.Println(listener.Addr())
	return jobs.Start(ctx)
}

// addCoverage has the leader count pods as often as it does by default.
func addCoverage(jobs manager.Manager, routes *controller.Controller, cluster *rest.Config) error {
	config := api.DefaultConfig()
	kube, err := kubernetes.NewForConfig(cluster)
	if err != nil {
		return err
	}
	objects, err := metadata.NewForConfig(cluster)
	if err != nil {
		return err
	}
	istio, err := istioclient.NewForConfig(cluster)
	if err != nil {
		return err
	}
	current := webhook.NewIstioConfiguration(webhook.IstioOptions{
		Client: kube, Metadata: objects, Istio: istio,
		Namespace: config.Istio.Namespace, OwnNamespace: ownNamespace, LastGoodName: config.LastGoodName(), Log: logr.Discard(),
	})
	coverage := webhook.NewCoverage(webhook.CoverageOptions{
		Pods:       routes.PodKinds,
		Namespaces: webhook.NamespacesFrom(jobs.GetCache()), Config: current,
		Entries:  webhook.EntriesFrom(jobs.GetCache(), config.WebhookConfigurationName()),
		Interval: config.Coverage.Interval, Registerer: metrics.Registry, Log: jobs.GetLogger(),
	})
	return errors.Join(jobs.Add(current), jobs.Add(coverage))
}

func newScheme() (*kruntime.Scheme, error) {
	scheme := kruntime.NewScheme()
	for _, add := range []func(*kruntime.Scheme) error{clientgoscheme.AddToScheme, networkingv1.AddToScheme, apiextensionsv1.AddToScheme} {
		if err := add(scheme); err != nil {
			return nil, err
		}
	}
	return scheme, nil
}

// readSelf reads the state of this process, after a garbage collection if that is wanted; then a profile of the heap goes
// into a folder, if one is named.
func readSelf(collect bool, profiles string) (reading, error) {
	now := reading{Kinds: map[string]int{}}
	resident, peak, err := residentMB() // before the collection, which would give memory back
	if err != nil {
		return now, err
	}
	now.ResidentMB, now.PeakMB = resident, peak
	if collect {
		runtime.GC()
		runtime.GC()
		if err := writeHeap(profiles); err != nil {
			return now, err
		}
	}
	var memory runtime.MemStats
	runtime.ReadMemStats(&memory)
	now.LiveHeapMB = memory.HeapAlloc >> 20
	var used syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &used); err != nil {
		return now, err
	}
	now.CPU = time.Duration(used.Utime.Nano() + used.Stime.Nano()).Seconds()
	families, err := metrics.Registry.Gather()
	if err != nil {
		return now, err
	}
	for _, family := range families {
		for _, metric := range family.GetMetric() {
			switch family.GetName() {
			case "controller_runtime_reconcile_total":
				now.Reconciles += int(metric.GetCounter().GetValue())
			case "outrigger_coverage_pods":
				now.Counted += int(metric.GetGauge().GetValue())
				for _, label := range metric.GetLabel() {
					if label.GetValue() == string(api.CoverageCovered) {
						now.Covered += int(metric.GetGauge().GetValue())
					}
				}
			case "outrigger_canary_step":
				now.Canaries++
			case "outrigger_canary_evaluations_total":
				now.Evaluations += int(metric.GetCounter().GetValue())
			case "outrigger_routing_writes_total":
				now.Writes += int(metric.GetCounter().GetValue())
				for _, label := range metric.GetLabel() {
					if label.GetName() == "kind" {
						now.Kinds[label.GetValue()] += int(metric.GetCounter().GetValue())
					}
				}
			}
		}
	}
	return now, nil
}

// residentMB reads what Linux says of this process: now, and at most.
func residentMB() (now, peak uint64, err error) {
	text, err := os.ReadFile("/proc/self/status")
	if err != nil {
		return 0, 0, err
	}
	for line := range strings.Lines(string(text)) {
		fields := strings.Fields(line)
		if len(fields) < 2 {
			continue
		}
		kb, _ := strconv.ParseUint(fields[1], 10, 64)
		switch fields[0] {
		case "VmRSS:":
			now = kb >> 10
		case "VmHWM:":
			peak = kb >> 10
		}
	}
	return now, peak, nil
}

// profiled writes a CPU profile of all that is done into a folder, if one is named.
func profiled(folder string, do func() error) error {
	if folder == "" {
		return do()
	}
	file, err := os.CreateTemp(folder, "controller-*.pprof")
	if err != nil {
		return err
	}
	if err := pprof.StartCPUProfile(file); err != nil {
		return errors.Join(err, file.Close())
	}
	err = do()
	pprof.StopCPUProfile()
	return errors.Join(err, file.Close())
}

func writeHeap(folder string) error {
	if folder == "" {
		return nil
	}
	file, err := os.CreateTemp(folder, "heap-*.pprof")
	if err != nil {
		return err
	}
	return errors.Join(pprof.Lookup("heap").WriteTo(file, 0), file.Close())
}

// process is a running controller.
type process struct {
	command *exec.Cmd
	url     string
}

func (w *world) startController(ctx context.Context, flags ...string) error {
	self, err := os.Executable()
	if err != nil {
		return err
	}
	command := exec.CommandContext(ctx, self, append([]string{"-controller", "-kubeconfig", w.kubeconfig, "-profiles", w.profiles}, flags...)...)
	command.Env = append(os.Environ(), "GOGC=40") // as the chart has it
	command.Cancel = func() error { return command.Process.Signal(syscall.SIGTERM) }
	command.Stderr = os.Stderr
	out, err := command.StdoutPipe()
	if err != nil {
		return err
	}
	if err := command.Start(); err != nil {
		return err
	}
	w.controller = &process{command: command}
	address, err := bufio.NewReader(out).ReadString('\n')
	if err != nil {
		return errors.Join(fmt.Errorf("the controller says no address: %w", err), w.controller.stop())
	}
	w.controller.url = "http://" + strings.TrimSpace(address)
	return nil
}

func (p *process) stop() error {
	if p == nil || p.command.ProcessState != nil {
		return nil
	}
	if err := p.command.Process.Signal(syscall.SIGTERM); err != nil {
		return err
	}
	return p.command.Wait()
}

// look asks the controller how it is, after a garbage collection or as it is.
func (p *process) look(ctx context.Context, collect bool) (now reading, err error) {
	url := p.url
	if collect {
		url += "?gc"
	}
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return now, err
	}
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		return now, err
	}
	defer func() { _ = response.Body.Close() }()
	return now, json.NewDecoder(response.Body).Decode(&now)
}

// reconciled waits for a number of reconciles, and quiet until there are no more for two seconds.
func (p *process) reconciled(ctx context.Context, count int) error {
	return p.until(ctx, func(now reading, _ time.Duration) bool { return now.Reconciles >= count })
}

func (p *process) quiet(ctx context.Context) error {
	return p.until(ctx, func(_ reading, still time.Duration) bool { return still >= 2*time.Second })
}

// counted waits until as many pods are counted.
func (p *process) counted(ctx context.Context, pods int) error {
	return p.until(ctx, func(now reading, _ time.Duration) bool { return now.Counted == pods })
}

func (p *process) until(ctx context.Context, is func(now reading, still time.Duration) bool) error {
	last, since := -1, time.Now()
	tick := time.NewTicker(100 * time.Millisecond)
	defer tick.Stop()
	for {
		now, err := p.look(ctx, false)
		if err != nil {
			return err
		}
		if now.Reconciles != last {
			last, since = now.Reconciles, time.Now()
		}
		if is(now, time.Since(since)) {
			return nil
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-tick.C:
		}
	}
}
