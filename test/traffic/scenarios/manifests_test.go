// SPDX-License-Identifier: Apache-2.0

package scenarios

import (
	"fmt"
	"strings"
)

// service is the Service of the scenarios; the selector is "app: web" and what else is given.
func service(selector ...string) string {
	return fmt.Sprintf(`
apiVersion: v1
kind: Service
metadata: {name: web, labels: {app: web}}
spec:
  selector: {%s}
  ports: [{name: http, port: 8080, targetPort: 8080}]`, strings.Join(append([]string{"app: web"}, selector...), ", "))
}

// workload is a Deployment behind the Service.
type workload struct {
	name, version string
	replicas      int
	fixed         bool   // the selector contains the version, so that it cannot change in place
	hardStop      bool   // pods end at once, without leaving the Service first
	annotations   string // of the pods, as YAML
	container     string // replaces the readiness probe; more of the container, as YAML
	variables     string // more of the environment, as "{name: ERRORS, value: "5"}, "
}

func (w workload) manifest() string {
	selector := "app: web, track: " + w.name
	if w.fixed {
		selector += ", version: " + w.version
	}
	hook := "lifecycle: {preStop: {sleep: {seconds: 5}}}"
	if w.hardStop {
		hook = ""
	}
	if w.container == "" {
		w.container = "readinessProbe: {httpGet: {path: /healthz, port: 8080}, periodSeconds: 1, timeoutSeconds: 5}"
	}
	return fmt.Sprintf(`
apiVersion: apps/v1
kind: Deployment
metadata: {name: %s, labels: {app: web}}
spec:
  replicas: %d
  selector: {matchLabels: {%s}}
  strategy: {rollingUpdate: {maxUnavailable: 0, maxSurge: 1}}
  template:
    metadata:
      labels: {app: web, track: %s, version: %s}
      annotations: {%s}
    spec:
      terminationGracePeriodSeconds: 20
      containers:
      - name: web
        image: %s:42
        env: [%s{name: VERSION, valueFrom: {fieldRef: {fieldPath: "metadata.labels['version']"}}}]
        resources: {requests: {cpu: 5m, memory: 16Mi}}
        %s
        %s`, w.name, max(w.replicas, 1), selector, w.name, w.version, w.annotations, cluster.App, w.variables, w.container, hook)
}

// client is the pod in the mesh that sends requests; it can also have no sidecar.
func client(name string, sidecar bool) string {
	return fmt.Sprintf(`
apiVersion: v1
kind: Pod
metadata: {name: %s, labels: {sidecar.istio.io/inject: "%t"}}
spec:
  terminationGracePeriodSeconds: 1
  containers:
  - name: client
    image: %s:42
    args: [sleep]
    resources: {requests: {cpu: 5m, memory: 16Mi}}`, name, sidecar, cluster.App)
}

// metricsServer is the Prometheus of the namespace: it scrapes the pods of the application.
func metricsServer(namespace string) string {
	return fmt.Sprintf(`
apiVersion: v1
kind: Service
metadata: {name: pods, labels: {outrigger.dev/routing: disabled}}
spec: {clusterIP: None, selector: {app: web}, ports: [{name: http, port: 8080}]}
---
apiVersion: v1
kind: Service
metadata: {name: metrics}
spec: {selector: {app: metrics}, ports: [{name: http, port: 9090}]}
---
apiVersion: v1
kind: Pod
metadata: {name: metrics, labels: {app: metrics, sidecar.istio.io/inject: "false"}}
spec:
  terminationGracePeriodSeconds: 1
  containers:
  - name: metrics
    image: %s:42
    args: [metrics, -host, "pods:8080", -label, namespace=%s]
    readinessProbe: {httpGet: {path: /-/ready, port: 9090}, periodSeconds: 1, timeoutSeconds: 5}
    resources: {requests: {cpu: 5m, memory: 32Mi}}`, cluster.App, namespace)
}

// plainRoute exposes the Service as you do without Outrigger: no subsets, so that Kubernetes alone decides which pods get requests.
func plainRoute(host string) string {
	return fmt.Sprintf(`
apiVersion: networking.istio.io/v1
kind: Gateway
metadata: {name: by-hand}
spec:
  selector: {istio: ingressgateway}
  servers: [{port: {number: 80, name: http, protocol: HTTP}, hosts: ["%s"]}]
---
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: by-hand}
spec:
  hosts: ["%s"]
  gateways: [by-hand]
  http: [{route: [{destination: {host: web, port: {number: 8080}}}]}]`, host, host)
}

// handWritten are the objects that Istio's documentation has its readers write, under a name: "web" is that of Outrigger's own.
func handWritten(name, host string, v1, v2 int) string {
	return fmt.Sprintf(`
apiVersion: networking.istio.io/v1
kind: Gateway
metadata: {name: %[1]s}
spec:
  selector: {istio: ingressgateway}
  servers: [{port: {number: 80, name: http, protocol: HTTP}, hosts: ["%[2]s"]}]
---
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: %[1]s}
spec:
  hosts: ["%[2]s"]
  gateways: [%[1]s]
  http:
  - route:
    - {destination: {host: web, subset: v1}, weight: %[3]d}
    - {destination: {host: web, subset: v2}, weight: %[4]d}
---
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: {name: %[1]s}
spec:
  host: web
  subsets:
  - {name: v1, labels: {version: v1}}
  - {name: v2, labels: {version: v2}}`, name, host, v1, v2)
}
