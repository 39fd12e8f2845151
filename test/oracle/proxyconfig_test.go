// SPDX-License-Identifier: Apache-2.0

package oracle

import (
	"fmt"
	"testing"

	corev1 "k8s.io/api/core/v1"
	"sigs.k8s.io/yaml"

	"outrigger.dev/outrigger/inject"
)

// writtenProxyConfigs are ProxyConfigs of pods, right and wrong, by every rule of Istio's validation.
var writtenProxyConfigs = []string{
	"{}",
	"terminationDrainDuration: 1.5s",
	"terminationDrainDuration: 0s",
	"terminationDrainDuration: -3s",
	"drainDuration: 1.5s",
	"drainDuration: 0s",
	"drainDuration: 2s",
	"drainDuration: 1m",
	"drainDuration: 60",
	"drainDuration: '60'",
	"drainDuration: 60000ms",
	"drainDuration: null",
	"configPath: ''",
	"binaryPath: ''",
	"serviceCluster: ''",
	"tracingServiceName: CANONICAL_NAME_ONLY",
	"tracingServiceName: APP_LABEL_AND_NAMESPACE",
	"discoveryAddress: ''",
	"discoveryAddress: istiod",
	"discoveryAddress: istiod:0",
	"discoveryAddress: istiod:65536",
	"discoveryAddress: 'istiod:+15012'",
	"discoveryAddress: ' istiod:15012'",
	"discoveryAddress: 'istiod: 15012'",
	"discoveryAddress: istiod.:15012",
	"discoveryAddress: istiod..x:15012",
	"discoveryAddress: under_score:15012",
	"discoveryAddress: '1.2.3:15012'",
	"discoveryAddress: '1.2.3.4:15012'",
	"discoveryAddress: '[fd00::1]:15012'",
	"discoveryAddress: 'fd00::1:15012'",
	"discoveryAddress: 'https://istiod:15012'",
	"discoveryAddress: ':15012'",
	"statsdUdpAddress: ''",
	"statsdUdpAddress: statsd",
	"statsdUdpAddress: statsd:9125",
	"envoyMetricsServiceAddress: ems",
	"envoyMetricsServiceAddress: ems:1",
	"envoyMetricsService: {}",
	"envoyMetricsService: {address: ems}",
	"envoyMetricsService: {address: 'ems:1'}",
	"envoyAccessLogService: {}",
	"envoyAccessLogService: {address: als}",
	"proxyAdminPort: 0",
	"proxyAdminPort: 65536",
	"statusPort: 0",
	"statusPort: -1",
	"statusPort: 15020",
	"controlPlaneAuthPolicy: NONE",
	"controlPlaneAuthPolicy: INHERIT",
	"controlPlaneAuthPolicy: MUTUAL_TLS",
	"controlPlaneAuthPolicy: 7",
	"tracing: {}",
	"tracing: {sampling: -1}",
	"tracing: {sampling: 100.5}",
	"tracing: {zipkin: {}}",
	"tracing: {zipkin: {address: zipkin}}",
	"tracing: {zipkin: {address: '$(HOST_IP):9411'}}",
	"tracing: {zipkin: {address: '$(HOST_IP)$(HOST_IP):9411'}}",
	"tracing: {datadog: {address: '$(HOST_IP):8126'}}",
	"tracing: {datadog: {address: datadog}}",
	"tracing: {lightstep: {}}",
	"tracing: {lightstep: {address: 'ls:80'}}",
	"tracing: {lightstep: {address: 'ls:80', accessToken: t}}",
	"tracing: {openCensusAgent: {address: 'anything goes'}}",
	"tracing: {customTags: {a: {literal: {value: x}}}}",
	"tracing: {customTags: {a: {}}}",
	"tracing: {customTags: {a: null}}",
	"tracing: {tlsSettings: {mode: MUTUAL}}",
	"tracing: {tlsSettings: {mode: MUTUAL, clientCertificate: /c}}",
	"tracing: {tlsSettings: {mode: MUTUAL, clientCertificate: /c, privateKey: /k}}",
	"tracing: {tlsSettings: {mode: MUTUAL, credentialName: c}}",
	"tracing: {tlsSettings: {mode: SIMPLE, credentialName: c, caCertificates: /ca}}",
	"tracing: {tlsSettings: {mode: SIMPLE, credentialName: c, caCrl: /crl}}",
	"tracing: {tlsSettings: {mode: SIMPLE, credentialName: 'configmap://ns/ca'}}",
	"tracing: {tlsSettings: {mode: SIMPLE, caCertificates: /ca, insecureSkipVerify: true}}",
	"tracing: {tlsSettings: {mode: SIMPLE, insecureSkipVerify: true}}",
	"tracing: {tlsSettings: {mode: SIMPLE, credentialName: c, insecureSkipVerify: true}}",
	"tracing: {tlsSettings: {mode: MUTUAL, credentialName: c, insecureSkipVerify: true}}",
	"tracing: {tlsSettings: {mode: MUTUAL, clientCertificate: /c, privateKey: /k, subjectAltNames: [s], insecureSkipVerify: true}}",
	"tracing: {tlsSettings: {mode: ISTIO_MUTUAL, insecureSkipVerify: true, caCertificates: /ca}}",
	"tracing: {tlsSettings: {mode: DISABLE, credentialName: c, caCertificates: /ca}}",
	"privateKeyProvider: {}",
	"privateKeyProvider: {cryptomb: {}}",
	"privateKeyProvider: {cryptomb: {pollDelay: 0s}}",
	"privateKeyProvider: {cryptomb: {pollDelay: 10ms}}",
	"privateKeyProvider: {qat: {}}",
	"privateKeyProvider: {qat: {pollDelay: 10ms}}",
	"connectionSettings: {}",
	"connectionSettings: 7",
	"connectionSettings: {httpMaxConcurrentStreams: 0}",
	"connectionSettings: {httpMaxConcurrentStreams: 1}",
	"connectionSettings: {http2InitialStreamWindowSize: 65534}",
	"connectionSettings: {http2InitialConnectionWindowSize: 65535}",
	"connectionSettings: {httpIdleTimeout: -1s}",
	"connectionSettings: {httpDrainTimeout: 0s}",
	"connectionSettings: {listenerPerConnectionBufferLimitBytes: -1}",
	"connectionSettings: {listenerConnectionLimit: 0}",
	"statsCompression: false",
	"fileFlushInterval: 3s",
	"proxyHeaders: {xForwardedHost: {enabled: true}}",
	"noSuchField: {deep: [1]}",
}

// What the annotation with a ProxyConfig may say is what Istio accepts, and comes out as with Istio, also where a state of
// Istio does not know a field.
func TestProxyConfigsAreTakenAsIstioTakesThem(t *testing.T) {
	i := installations[0]
	for _, state := range []State{April, August} {
		t.Run(state.Folder, func(t *testing.T) {
			istio := state.Start(t)
			texts := i.configMaps(t, istio)
			config := state.parse(t, i, texts, "enabled")
			results := map[inject.Result]int{}
			for _, written := range writtenProxyConfigs {
				t.Run(written, func(t *testing.T) {
					s := podWith(t, "proxy.istio.io/config", written)
					verdict, err := istio.Inject(i.review(texts, "enabled", s, s.raw(t)))
					if err != nil {
						t.Fatalf("the oracle: %v", err)
					}
					results[resultOf(verdict)]++
					compareWithVerdict(t, i, s, config, verdict)
				})
			}
			if len(results) < 2 {
				t.Errorf("Istio's results are %v: they show nothing about the others", results)
			}
		})
	}
}

// podWith is a pod with one annotation.
func podWith(t *testing.T, name, value string) sample {
	t.Helper()
	var pod corev1.Pod
	text := fmt.Sprintf("metadata: {name: a, labels: {app: a}, annotations: {%s: %q}}\nspec: {containers: [{name: app, image: \"registry.example/app:1\"}]}", name, value)
	if err := yaml.Unmarshal([]byte(text), &pod); err != nil {
		t.Fatal(err)
	}
	owned(&pod, "Pod", "a")
	defaulted(&pod)
	return sample{name: value, pod: &pod}
}
