// SPDX-License-Identifier: Apache-2.0

package alerts

import (
	"testing"

	"github.com/google/go-cmp/cmp"
	monitoringv1 "github.com/prometheus-operator/prometheus-operator/pkg/apis/monitoring/v1"
	"sigs.k8s.io/yaml"
)

// What the chart makes for the Prometheus operator has no field that its types do not know.
func TestTheOperatorKnowsEveryField(t *testing.T) {
	rule := &monitoringv1.PrometheusRule{}
	if err := yaml.UnmarshalStrict(rendered(t, "prometheusrule.yaml", "prometheusRule.enabled=true", "prometheusRule.labels.release=p", "prometheusRule.namespace=monitoring"), rule); err != nil {
		t.Error(err)
	}
	if rule.Namespace != "monitoring" || rule.Labels["release"] != "p" || len(rule.Spec.Groups) != 1 {
		t.Errorf("the rule is %+v", rule.ObjectMeta)
	}
	monitor := &monitoringv1.ServiceMonitor{}
	if err := yaml.UnmarshalStrict(rendered(t, "servicemonitor.yaml", "serviceMonitor.enabled=true", "serviceMonitor.labels.release=p", "serviceMonitor.interval=30s", "serviceMonitor.scrapeTimeout=10s",
		"serviceMonitor.namespace=monitoring", "serviceMonitor.annotations.a=b", "serviceMonitor.relabelings[0].targetLabel=cluster", "serviceMonitor.relabelings[0].replacement=a",
		"serviceMonitor.metricRelabelings[0].action=drop", "serviceMonitor.metricRelabelings[0].sourceLabels={__name__}", "serviceMonitor.metricRelabelings[0].regex=go_.*"), monitor); err != nil {
		t.Error(err)
	}
	service := struct {
		Metadata struct {
			Labels map[string]string `json:"labels"`
		} `json:"metadata"`
		Spec struct {
			Ports []struct {
				Name string `json:"name"`
			} `json:"ports"`
		} `json:"spec"`
	}{}
	if err := yaml.Unmarshal(rendered(t, "metrics-service.yaml"), &service); err != nil {
		t.Fatal(err)
	}
	for key, value := range monitor.Spec.Selector.MatchLabels {
		if service.Metadata.Labels[key] != value {
			t.Errorf("the ServiceMonitor wants %s=%s, and the Service has %q", key, value, service.Metadata.Labels[key])
		}
	}
	if len(monitor.Spec.Endpoints) != 1 || monitor.Spec.Endpoints[0].Port != service.Spec.Ports[0].Name {
		t.Errorf("the ServiceMonitor asks for another port than %+v", service.Spec.Ports)
	}
	if diff := cmp.Diff([]string{"outrigger-system"}, monitor.Spec.NamespaceSelector.MatchNames); diff != "" {
		t.Errorf("namespaces (-want +got):\n%s", diff)
	}
}
