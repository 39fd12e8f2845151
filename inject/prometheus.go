// SPDX-License-Identifier: Apache-2.0

package inject

import (
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"

	corev1 "k8s.io/api/core/v1"

	"outrigger.dev/outrigger/api"
)

// Prometheus annotations are compared with every character other than letters, digits, and underscores replaced by an underscore.
const (
	prometheusScrape     = "prometheus_io_scrape"
	prometheusPort       = "prometheus_io_port"
	prometheusPath       = "prometheus_io_path"
	prometheusTargets    = "prometheus_istio_io_scrape_targets"
	prometheusSecurePort = "prometheus_istio_io_secure_port"
	annotationMerge      = "prometheus.istio.io/merge-metrics"
	annotationTargets    = "prometheus.istio.io/scrape-targets"
)

// normalizesTo reports whether a key equals name once its other characters are replaced by underscores.
func normalizesTo(key, name string) bool {
	at := 0
	for _, r := range key {
		if r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' {
			if at >= len(name) || rune(name[at]) != r {
				return false
			}
		} else if at >= len(name) || name[at] != '_' {
			return false
		}
		at++
	}
	return at == len(name)
}

// prometheusAnnotation returns the value of an annotation in any spelling. If several match, the first key in sort order counts.
func prometheusAnnotation(pod *corev1.Pod, name string) (string, bool) {
	first, found := "", false
	for key := range pod.Annotations {
		if normalizesTo(key, name) && (!found || key < first) {
			first, found = key, true
		}
	}
	return pod.Annotations[first], found
}

func clearPrometheus(pod *corev1.Pod, more ...string) {
	names := append([]string{prometheusScrape, prometheusPort, prometheusPath}, more...)
	maps.DeleteFunc(pod.Annotations, func(key, _ string) bool {
		return slices.ContainsFunc(names, func(name string) bool { return normalizesTo(key, name) })
	})
}

// scraping describes the application's metrics endpoints for the agent.
type scraping struct {
	Scrape  string         `json:"scrape"`
	Path    string         `json:"path"`
	Port    string         `json:"port"`
	Targets []scrapeTarget `json:"targets,omitempty"`
}

type scrapeTarget struct {
	Port string `json:"port"`
	Path string `json:"path"`
}

// mergePrometheus lets Prometheus scrape the agent, which scrapes the application.
func (j *job) mergePrometheus() error {
	pod := j.merged
	defer j.setSecurePort()
	if !j.mergesPrometheus() {
		return nil
	}
	if port, written := prometheusAnnotation(pod, prometheusPort); written && port == j.statusPort() {
		return nil
	}
	var s scraping
	s.Scrape, _ = prometheusAnnotation(pod, prometheusScrape)
	s.Path, _ = prometheusAnnotation(pod, prometheusPath)
	s.Port, _ = prometheusAnnotation(pod, prometheusPort)
	var alsoRemoved []string
	if j.release.scrapeTargets() {
		alsoRemoved = append(alsoRemoved, prometheusTargets)
		if text, written := prometheusAnnotation(pod, prometheusTargets); written {
			s.Targets = parseTargets(text)
		}
		if len(s.Targets) > 0 {
			s.Port, s.Path = s.Targets[0].Port, s.Targets[0].Path
		}
		if err := j.checkScraping(s); err != nil {
			return err
		}
	}
	if proxy := findProxy(pod); proxy != nil && (s.Scrape != "" || s.Path != "" || s.Port != "" || len(s.Targets) > 0) {
		text, err := json.Marshal(s)
		if err != nil {
			return err
		}
		proxy.Env = append(proxy.Env, corev1.EnvVar{Name: "ISTIO_PROMETHEUS_ANNOTATIONS", Value: string(text)})
	}
	clearPrometheus(pod, alsoRemoved...)
	annotate(pod, "prometheus.io/port", j.statusPort())
	annotate(pod, "prometheus.io/path", "/stats/prometheus")
	annotate(pod, "prometheus.io/scrape", "true")
	return nil
}

func (j *job) mergesPrometheus() bool {
	for _, key := range slices.Sorted(maps.Keys(j.merged.Annotations)) {
		if !normalizesTo(key, prometheusScrape) {
			continue
		}
		if scrape, err := strconv.ParseBool(j.merged.Annotations[key]); err == nil && !scrape {
			return false
		}
	}
	if text, written := j.merged.Annotations[annotationMerge]; written {
		if merge, err := strconv.ParseBool(text); err == nil {
			return merge
		}
	}
	if enabled := j.mesh.GetEnablePrometheusMerge(); enabled != nil {
		return enabled.Value
	}
	return true
}

// parseTargets parses "port:path,port:path". It returns nil if a target has no port.
func parseTargets(text string) []scrapeTarget {
	var targets []scrapeTarget
	for _, item := range strings.Split(text, ",") {
		if item = strings.TrimSpace(item); item == "" {
			continue
		}
		port, path, _ := strings.Cut(item, ":")
		if port = strings.TrimSpace(port); port == "" {
			return nil
		}
		if path = strings.TrimSpace(path); path == "" {
			path = "/metrics"
		}
		targets = append(targets, scrapeTarget{Port: port, Path: path})
	}
	return targets
}

// reservedPorts are the proxy's own ports.
var reservedPorts = []int{15000, 15001, 15004, 15006, 15008, 15020, 15021, 15053, 15090}

func (j *job) checkScraping(s scraping) error {
	ports, field := []string{s.Port}, "prometheus.io/port"
	if len(s.Targets) > 0 {
		ports, field = nil, annotationTargets
		for _, target := range s.Targets {
			ports = append(ports, target.Port)
		}
	}
	for _, port := range ports {
		if port == "" {
			continue
		}
		number, err := strconv.Atoi(port)
		fault := ""
		switch {
		case err != nil || number < 1 || number > 65535:
			fault = fmt.Sprintf("invalid port %q.", port)
		case strconv.Itoa(number) == j.statusPort():
			fault = fmt.Sprintf("port %s conflicts with agent port.", port)
		case slices.Contains(reservedPorts, number):
			fault = fmt.Sprintf("port %s is reserved for Istio.", port)
		}
		if fault != "" {
			return refuse(problemOf(j.pod, api.InjectInvalidAnnotation, api.AnnotationField(field), port, "invalid prometheus scrape configuration: "+fault,
				"Write the number of the port on which the application serves its metrics."))
		}
	}
	return nil
}

// setSecurePort sets the annotation with the port on which the agent serves merged metrics over mutual TLS.
func (j *job) setSecurePort() {
	proxy := findProxy(j.merged)
	if proxy == nil || !j.release.scrapeTargets() {
		return
	}
	if _, written := prometheusAnnotation(j.merged, prometheusSecurePort); written {
		return
	}
	for _, env := range proxy.Env {
		if env.Name == "ENVOY_SECURE_MERGED_METRICS_PORT" && env.Value != "" && env.Value != "0" {
			annotate(j.merged, "prometheus.istio.io/secure-port", env.Value)
			return
		}
	}
}
